/** What `top` makes of what it is told: sorted, bounded, cut to the screen, standing still. The screen itself is tried in walk.test.ts. */
import { describe, expect, test } from 'vitest'
import { clip, widthOf } from '../../src/cli/output.js'
import { picture } from '../../src/cli/top/picture.js'
import { Look, sorted, TopState } from '../../src/cli/top/top-state.js'
import type { State } from '../../src/cli/top/watch-source.js'
import type { FeedEventJson, NodeJson } from '../../src/http/contract.js'

const node = (id: string, more: Partial<NodeJson> = {}): NodeJson =>
  ({
    ...{
      id,
      status: 'online',
      healthy: true,
      observed: 'alive',
      stalled: false,
      cordoned: false,
      kind: 'node',
    },
    ...{ role: 'worker', is_leader: false, is_self: false, version: '1', uptime: '1s', address: 'h:1' },
    ...{ cpu_usage: 0, memory_usage: 0, disk_usage: 0, load: 0, active_agents: 0, max_agents: 100 },
    ...{ shards_owned: 0, events_per_second: 0, rtt_ms: 0, loop_delay_ms: 0 },
    ...more,
  }) as NodeJson

const state = (nodes: readonly NodeJson[], more: object = {}): State => ({
  nodes,
  status: {
    ...{ cluster_name: 'c', node: nodes[0], leader_id: 'a', term: 1, is_quorum_available: true },
    ...{ shards_total: 8, time: '2026-01-01T12:00:00.000Z' },
    store: { ok: true, driver: 'sqlite', identity: '', detail: '' },
    journal: { ok: true, driver: 'sqlite', identity: '', detail: '' },
    ...more,
  } as State['status'],
})

const event = (seq: number): FeedEventJson => ({
  seq,
  at: '2026-01-01T12:00:00.000Z',
  node_id: 'a',
  event: `thing.${seq}`,
  fields: {},
})

const room = { width: 100, height: 30 }

describe('top', () => {
  test('sorts by what is chosen, the heaviest first, ties by name', () => {
    const nodes = [node('b', { cpu_usage: 5 }), node('a', { cpu_usage: 5 }), node('c', { cpu_usage: 90 })]
    const look = new Look()
    const ids = () =>
      sorted(nodes, look)
        .map(({ id }) => id)
        .join('')
    expect(ids()).toBe('abc')
    look.key('s')
    look.key('s')
    expect([look.sort, ids()]).toEqual(['cpu', 'cab'])
    look.key('r')
    expect(ids()).toBe('bac')
  })

  test('keeps a bounded timeline, and nothing twice that the history told before', () => {
    const top = new TopState()
    top.connected('h:1', [event(2), event(1)], undefined)
    for (let seq = 1; seq <= 2_000; seq++) top.feed(event(seq))
    expect(top.timeline.length).toBe(500)
    expect(new Set(top.timeline.map(({ seq }) => seq)).size).toBe(500)
    expect(top.timeline.at(-1)?.seq).toBe(2_000)
  })

  test('counts only nodes that are there, and says what is not as it should be, with the fix', () => {
    const top = new TopState()
    const gone = node('b', { status: 'offline', healthy: false, observed: 'failed', shards_owned: 4 })
    top.take(state([node('a', { shards_owned: 8 }), gone], { leader_id: null, is_quorum_available: false }))
    const text = picture(top, new Look(), room).join('\n')
    expect(text).toContain('shards 8/8')
    expect(text).toMatch(/ALARM leader and quorum: nobody leads.*DOES NOT ANSWER/)
    expect(text).toMatch(/ALARM members: b is failed/)
    expect(JSON.stringify(top.toJson())).toContain('skein nodes why b')
  })

  test('fits any screen: no line is wider, no picture higher, and the rest can be scrolled to', () => {
    const top = new TopState()
    top.take(state(Array.from({ length: 200 }, (_, i) => node(`node-${String(i).padStart(3, '0')}`))))
    const look = new Look()
    for (const [width, height] of [
      [20, 3],
      [80, 24],
      [250, 70],
    ] as const) {
      const lines = picture(top, look, { width, height })
      expect(lines.length).toBeLessThanOrEqual(height)
      expect(Math.max(...lines.map(widthOf))).toBeLessThanOrEqual(width)
    }
    for (let i = 0; i < 1_000; i++) look.key('down')
    expect(picture(top, look, room).join('\n')).toContain('node-199')
  })

  test('names cannot move the cursor', () => {
    const csi = '\u001b['
    expect(clip(`a${csi}2Jb\u0007c${csi}31md`, 10)).toBe(`a[2Jbc${csi}31md${csi}0m`)
    expect(clip('abcdef', 3)).toBe('abc')
  })
})
