/** What a cluster of three that is at work tells Prometheus: all of the table, nothing beside it, and no label without a bound. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nodeUri } from '../../src/core/kernel/certificate-name.js'
import { defineAgent, type NodeConfig } from '../../src/index.js'
import { makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import type { LabelValues, MetricSpec } from '../../src/runtime/metrics/metric.js'
import { metricTable } from '../../src/runtime/metrics/table.js'
import { until } from '../runtime/real-node.js'
import { eventually, startThree, type ThreeNodes } from '../runtime/three-nodes.js'
import { isWithoutPromtool, promtool } from './promtool.js'

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Of the text format, as far as prom-client writes it. */
function samplesOf(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', labels = '', value = ''] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      expect(name, line).not.toBe('')
      return {
        name,
        labels: Object.fromEntries(
          [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1], m[2]]),
        ),
        value: Number(value),
      }
    })
}

function familyOf(name: string): MetricSpec | undefined {
  const table = metricTable as readonly MetricSpec[]
  return (
    table.find((m) => m.name === name) ??
    table.find((m) => m.type === 'histogram' && name.replace(/_(bucket|sum|count)$/, '') === m.name)
  )
}

function isAllowed(allowed: LabelValues, value: string): boolean {
  return !('values' in allowed) || allowed.values.includes(value) || value === 'other'
}

const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: {
    add: (context, by: number) => {
      context.state.n += by
      return context.state.n
    },
  },
})

describe('three nodes at work', () => {
  let three: ThreeNodes
  let texts: string[] = []
  const scrape = async (): Promise<string[]> =>
    Promise.all(three.nodes.map(async (n) => (await fetch(`http://${n.self.httpAddress}/metrics`)).text()))
  const value = (text: string, name: string, labels: Readonly<Record<string, string>> = {}): number =>
    samplesOf(text)
      .filter((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))
      .reduce((sum, s) => sum + s.value, 0)
  const total = (name: string, labels: Readonly<Record<string, string>> = {}): number =>
    texts.reduce((sum, text) => sum + value(text, name, labels), 0)

  const certificates = mkdtempSync(join(tmpdir(), 'skein-metrics-'))
  const authority = makeAuthority('skein', 10)
  const withCertificate = async (id: string): Promise<Partial<NodeConfig>> => {
    const options = { name: id, uri: nodeUri('skein', id), hosts: [], isServer: true, days: 5 }
    const made = { ...(await makeLeaf(await authority, options)), ca: (await authority).cert }
    const files = { ca: '', cert: '', key: '' }
    for (const kind of ['ca', 'cert', 'key'] as const) {
      files[kind] = join(certificates, `${id}.${kind}`)
      writeFileSync(files[kind], made[kind], { mode: 0o600 })
    }
    return { http: true, tlsCa: files.ca, tlsCert: files.cert, tlsKey: files.key }
  }

  beforeAll(async () => {
    three = await startThree(await Promise.all(['n1', 'n2', 'n3'].map(withCertificate)))
    const [n1, n2, n3] = three.nodes
    await eventually(() => three.nodes.every((n) => n.cluster.status().shardsOpen === 8), 'all shards')
    for (const n of three.nodes) n.agents.define(Counter)
    n1.services.provide('prices', {
      quote: () => 1,
      fail: () => {
        throw new Error('no')
      },
    })
    await n2.services.wait('prices')
    const consumed: string[] = []
    n1.events.consume('s', (batch) => void consumed.push(...batch.map((e) => e.id)), { group: 'g' })
    n2.events.consume('s', (batch) => void consumed.push(...batch.map((e) => e.id)), { group: 'g' })
    n3.events.consume('s', (batch) => void consumed.push(...batch.map((e) => e.id)), { group: 'g' })
    const stopTail = n3.events.tail({ stream: 's' }, () => {})
    for (let i = 0; i < 20; i++) await n1.events.publish('s', { key: `k${i}`, id: `e${i}`, payload: i })
    await n1.events.publish('s', { key: 'k0', id: 'e0', payload: 0 })
    await n1.events.publish('s', { key: 'k0', id: 'e0', payload: 'another' }).catch(() => undefined)
    await eventually(() => new Set(consumed).size === 20, 'all events to be consumed')
    stopTail()
    await n2.services.call('prices', 'quote')
    await n2.services.call('prices', 'fail').catch(() => undefined)
    n2.processors.register('double', (x: number) => x * 2)
    await (await n2.spawn('double', 4)).result
    await n1.names.register('clerk', { ask: () => 1 })
    await n1.names.whereis('clerk')?.call('ask')
    n2.rooms.listen('lobby', () => {})
    await eventually(() => n1.rooms.list().some((r) => r.room === 'lobby'), 'the room to be known')
    await n1.rooms.broadcast('lobby', 'hello')
    n1.map('presence').set('alice', 'online')
    await n1.agents.place(Counter, 'a1')
    await until('n3 to have heard of it', async () =>
      (await n3.agents.list()).some(({ name }) => name === 'a1') ? true : undefined,
    )
    await n3.agents.get(Counter, 'a1').add(2)
    await eventually(() => n3.map('presence').get('alice') === 'online', 'the map to be everywhere')
    await fetch(`http://${n1.self.httpAddress}/api/cluster/status`)
    await fetch(`http://${n1.self.httpAddress}/api/agents/nobody`)
    for (let i = 0; i < 5; i++) await fetch(`http://${n1.self.httpAddress}/no/such/path/${i}`)
    texts = await scrape()
  }, 60_000)
  afterAll(async () => {
    await three?.stop()
    rmSync(certificates, { recursive: true, force: true })
  }, 30_000)

  it('tell all of the table and nothing beside it', () => {
    for (const text of texts) {
      const told = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map((m) => [m[1], m[2]])
      expect(told).toEqual(metricTable.map((m) => [m.name, m.type]))
      for (const { name } of samplesOf(text)) expect(familyOf(name), name).toBeDefined()
    }
    // Every metric has a value somewhere, but for those that nothing here could cause.
    const valued = new Set(texts.flatMap((text) => samplesOf(text).map((s) => familyOf(s.name)?.name)))
    const missing = metricTable.map((m) => m.name).filter((name) => !valued.has(name))
    expect(missing).toEqual([
      'skein_mirror_lag_seconds',
      'skein_mirror_events_total',
      'skein_processor_waiting_events',
      'skein_processor_lent_events',
      'skein_processor_helpers',
    ])
  })

  it('use the labels of the table, within their bounds', () => {
    for (const text of texts)
      for (const { name, labels } of samplesOf(text)) {
        const { le, ...own } = labels
        const allowed = familyOf(name)?.labels ?? {}
        expect(Object.keys(own).sort(), name).toEqual(Object.keys(allowed).sort())
        for (const [label, given] of Object.entries(own))
          expect(isAllowed(allowed[label] as LabelValues, given), `${name} ${label}=${given}`).toBe(true)
        expect(le === undefined || name.endsWith('_bucket'), name).toBe(true)
      }
  })

  it('tell what was done', () => {
    expect(total('skein_leader')).toBe(1)
    const daysLeft = (certificate: string): number =>
      (value(texts[0] ?? '', 'skein_certificate_expires_timestamp_seconds', { certificate }) -
        Date.now() / 1_000) /
      86_400
    expect(daysLeft('node')).toBeCloseTo(5, 1)
    expect(daysLeft('authority')).toBeCloseTo(10, 1)
    expect(total('skein_shards_owned')).toBe(8)
    for (const text of texts) {
      expect(value(text, 'skein_nodes', { status: 'online' })).toBe(3)
      expect(value(text, 'skein_peer_up')).toBe(2)
      expect(value(text, 'skein_store_up')).toBe(1)
      expect(value(text, 'skein_store_seconds_count', { operation: 'lease_keep_alive' })).toBeGreaterThan(0)
      expect(value(text, 'skein_map_keys')).toBe(1)
      expect(value(text, 'skein_registry_rows', { kind: 'service' })).toBe(1)
    }
    expect(total('skein_events_total', { outcome: 'accepted' })).toBe(20)
    expect(total('skein_events_total', { outcome: 'duplicate' })).toBe(1)
    expect(total('skein_events_rejected_total', { code: 'event_conflict' })).toBe(1)
    expect(total('skein_event_append_seconds_count')).toBeGreaterThan(0)
    expect(total('skein_shard_takeover_seconds_count')).toBeGreaterThanOrEqual(8)
    expect(total('skein_service_calls_total', { service: 'prices', outcome: 'ok' })).toBe(1)
    expect(total('skein_service_calls_total', { service: 'prices', outcome: 'failed' })).toBe(1)
    expect(total('skein_service_calls_total', { service: '(names)', outcome: 'ok' })).toBe(1)
    expect(total('skein_service_call_seconds_count', { service: 'prices' })).toBe(2)
    expect(total('skein_processor_ends_total', { outcome: 'finished' })).toBe(1)
    expect(total('skein_names_held')).toBe(1)
    expect(total('skein_rooms')).toBe(1)
    expect(total('skein_room_messages_total', { kind: 'plain' })).toBe(1)
    expect(total('skein_room_deliveries_total')).toBe(1)
    expect(total('skein_agents', { state: 'running' })).toBe(1)
    expect(total('skein_agent_placements_total', { decision: 'assigned' })).toBe(1)
    expect(total('skein_consumer_lag_events', { group: 's/g' })).toBe(0)
    const [first = ''] = texts
    const route = (path: string, status: string): number =>
      value(first, 'skein_http_requests_total', { method: 'GET', route: path, status })
    expect(route('/api/cluster/status', '2xx')).toBe(1)
    expect(route('/api/agents/{name}', '4xx')).toBe(1)
    expect(route('(none)', '4xx')).toBe(5)
    expect(value(first, 'skein_http_request_seconds_count', { route: '(none)' })).toBe(5)
  })

  it.skipIf(isWithoutPromtool('what it says of the metrics of nodes'))('please promtool', () => {
    for (const text of texts) expect(promtool(['check', 'metrics'], { input: text })).toBe('')
  })

  it('tell no more of names that a program makes up than their bound', async () => {
    const [, n2] = three.nodes
    for (let i = 0; i < 70; i++) await n2.services.call(`made-up-${i}`, 'ask').catch(() => undefined)
    const [, text = ''] = await scrape()
    const services = samplesOf(text)
      .filter((s) => s.name === 'skein_service_calls_total' && s.labels.outcome === 'refused')
      .map((s) => [s.labels.service, s.value] as const)
    expect(services.length).toBeLessThanOrEqual(50)
    expect(services.reduce((sum, [, refused]) => sum + refused, 0)).toBe(70)
    expect(Object.fromEntries(services).other).toBeGreaterThan(20)
  })

  it('forget a peer that was removed', async () => {
    const [n1, , n3] = three.nodes
    const { id } = n3.self
    expect(texts[0]).toContain(`peer="${id}"`)
    await n3.stop({ deadlineMs: 2_000 })
    await eventually(() => n1.members.get(id)?.status === 'offline', 'it to be offline')
    await n1.cluster.remove(id)
    await eventually(() => n1.members.get(id) === undefined, 'it to be forgotten')
    const text = await n1.metrics.text()
    expect(text).not.toContain(`peer="${id}"`)
    expect(value(text, 'skein_nodes', { status: 'offline' })).toBe(0)
  })
})
