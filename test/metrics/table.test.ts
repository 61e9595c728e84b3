/** The table of metrics against itself, and against every query that is made from it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import type { MetricSpec } from '../../src/runtime/metrics/metric.js'
import { metricTable } from '../../src/runtime/metrics/table.js'
import { namesIn } from './promql.js'
import { isWithoutPromtool, promtool } from './promtool.js'

const table = metricTable as readonly MetricSpec[]
const root = join(import.meta.dirname, '../..')
const rulesFile = join(root, 'deploy/prometheus/alerts.yaml')
const dashboardFile = join(root, 'deploy/grafana/skein.json')

/** What Prometheus sees of a metric, with the labels that it has there. */
const series = new Map(
  table.flatMap((m): [string, ReadonlySet<string>][] => {
    const labels = ['job', 'instance', ...Object.keys(m.labels ?? {})]
    if (m.type !== 'histogram') return [[m.name, new Set(labels)]]
    return [
      [`${m.name}_bucket`, new Set([...labels, 'le'])],
      [`${m.name}_sum`, new Set(labels)],
      [`${m.name}_count`, new Set(labels)],
    ]
  }),
)

function expectKnown(query: string): void {
  const { metrics, labels } = namesIn(query)
  expect(metrics, query).not.toEqual([])
  for (const name of metrics) expect([...series.keys()], `${name} in ${query}`).toContain(name)
  const there = new Set(metrics.flatMap((name) => [...(series.get(name) ?? [])]))
  for (const label of labels) expect([...there], `label ${label} in ${query}`).toContain(label)
}

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[]
}
interface Dashboard {
  readonly panels: readonly {
    readonly title: string
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
    readonly targets?: readonly { readonly expr: string }[]
  }[]
}

const rules = (parse(readFileSync(rulesFile, 'utf8')) as Rules).groups.flatMap((g) => g.rules)
const dashboard = JSON.parse(readFileSync(dashboardFile, 'utf8')) as Dashboard

describe('the table of metrics', () => {
  it('names each metric once, by the rules of Prometheus', () => {
    expect(new Set(table.map((m) => m.name)).size).toBe(table.length)
    for (const m of table) {
      expect(m.name).toMatch(/^(skein|process|nodejs)_[a-z0-9_]+$/)
      expect(m.name.endsWith('_total'), m.name).toBe(m.type === 'counter')
      for (const unit of ['seconds', 'bytes', 'ratio'])
        if (m.unit === unit) expect(m.name, m.name).toMatch(new RegExp(`_${unit}(_total)?$`))
      expect(m.bounds === undefined, m.name).toBe(m.type !== 'histogram')
      if (m.bounds !== undefined) expect([...m.bounds].sort((a, b) => a - b)).toEqual(m.bounds)
    }
  })

  it('bounds every label', () => {
    for (const m of table)
      for (const [label, allowed] of Object.entries(m.labels ?? {})) {
        expect(label).toMatch(/^[a-z_]+$/)
        if ('values' in allowed) expect(allowed.values.length, `${m.name} ${label}`).toBeGreaterThan(0)
        else expect(allowed.max, `${m.name} ${label}`).toBeLessThanOrEqual(1_000)
      }
  })

  it('says of each metric what it means, and of each alert how to look and what to do', () => {
    const alerts = table.flatMap((m) => (m.alerts ?? []).map((alert) => ({ m, alert })))
    expect(new Set(alerts.map(({ alert }) => alert.name)).size).toBe(alerts.length)
    for (const m of table) {
      expect(m.help.endsWith('.'), m.name).toBe(false)
      expect(m.moves.length, m.name).toBeGreaterThan(10)
    }
    for (const { m, alert } of alerts) {
      expect(alert.look.length * alert.act.length, alert.name).toBeGreaterThan(0)
      const own = m.type === 'histogram' ? `${m.name}_bucket` : m.name
      expect(namesIn(alert.expr).metrics, `${alert.name} stands at ${m.name}`).toContain(own)
    }
  })
})

describe('what is made from it', () => {
  it('every alert and every panel names metrics and labels of the table only', () => {
    expect(rules.length).toBeGreaterThan(30)
    for (const { expr } of rules) expectKnown(expr)
    const queries = dashboard.panels.flatMap((p) => p.targets ?? [])
    expect(queries.length).toBeGreaterThan(40)
    for (const { expr } of queries) expectKnown(expr)
  })

  it('a query that names anything else is found', () => {
    expect(() => expectKnown('rate(skein_events[5m])')).toThrow('skein_events')
    expect(() => expectKnown('sum by (shard) (skein_shards_owned)')).toThrow('shard')
    expect(() => namesIn('sum(skein_leader')).toThrow('no PromQL')
  })

  it('panels of the dashboard do not lie over each other', () => {
    const taken = new Set<string>()
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x} ${y}`), `${title} at ${x}, ${y}`).toBe(false)
          taken.add(`${x} ${y}`)
        }
    }
  })

  it('the documentation speaks of metrics and alerts that there are', () => {
    const metrics = [...series.keys(), ...table.map((m) => m.name)]
    for (const file of ['OPERATIONS', 'DEPLOY', 'SIZING', 'UPGRADING', 'BACKUP', 'METRICS', 'ALERTS'].map(
      (n) => `${n}.md`,
    )) {
      const text = readFileSync(join(root, 'docs', file), 'utf8')
      for (const [, alert] of text.matchAll(/(?<![\w`])(Skein(?!Error)[A-Z][A-Za-z]+)(?![\w`])/g))
        expect(
          rules.map((r) => r.alert),
          file,
        ).toContain(alert)
      for (const [, name] of text.matchAll(/`(skein_[a-z0-9_]+)(?:`|\{)/g))
        expect(metrics, file).toContain(name)
    }
  })

  it('the runbook names commands that there are', () => {
    const reference = readFileSync(join(root, 'docs/CLI.md'), 'utf8')
    const commands = new Set(
      [...reference.matchAll(/^## `?(skein [a-z-]+(?: [a-z-]+)*)/gm)].map((m) => m[1] ?? ''),
    )
    const named = [
      ...readFileSync(join(root, 'docs/ALERTS.md'), 'utf8').matchAll(/`(skein [a-z-]+)((?: [a-z-]+)?)/g),
    ]
    expect(named.length).toBeGreaterThan(20)
    for (const [, group = '', more = ''] of named) {
      const isGroup = [...commands].some((c) => c.startsWith(`${group} `))
      const whole = isGroup && !more.startsWith(' --') ? `${group}${more}` : group
      expect([...commands, ...[...commands].map((c) => c.split(' ').slice(0, 2).join(' '))]).toContain(whole)
    }
  })

  it('every alert has its place in the runbook, under the anchor that the rule names', () => {
    const page = readFileSync(join(root, 'docs/ALERTS.md'), 'utf8')
    for (const { alert } of rules) expect(page).toContain(`\n## ${alert}\n`)
    const text = readFileSync(rulesFile, 'utf8')
    for (const [, anchor] of text.matchAll(/docs\/ALERTS\.md#(\S+)/g))
      expect(rules.map((r) => r.alert.toLowerCase())).toContain(anchor)
  })
})

describe.skipIf(isWithoutPromtool('what it says of the alert rules'))('promtool', () => {
  it('accepts the alert rules', () => {
    expect(promtool(['check', 'rules', rulesFile])).toContain(`SUCCESS: ${rules.length} rules found`)
  })

  it('accepts the configuration that the documentation begins with', () => {
    promtool(['check', 'config', join(root, 'deploy/prometheus/prometheus.yml')])
  })

  it('sees alerts fire when they should, and not before', () => {
    promtool(['test', 'rules', 'alerts.test.yaml'], { cwd: join(root, 'deploy/prometheus') })
  })
})
