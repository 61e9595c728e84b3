import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Places } from '../../src/core/agents/places.js'
import {
  atKey,
  atPrefix,
  decodePack,
  earlyKey,
  encodePack,
  encodeSpec,
  endKey,
  floorKey,
  guardKey,
  packPrefix,
  specKey,
} from '../../src/core/agents/records.js'
import { AgentTable } from '../../src/core/agents/table.js'
import { asEpoch, asLeaseId, type Epoch } from '../../src/core/kernel/brand.js'
import type { KeyValue } from '../../src/core/kernel/store-types.js'
import { jsonEncode } from '../../src/core/kernel/text.js'
import { MemoryStoreState } from '../../src/drivers/store-memory/memory-state.js'
import { AgentsBench, specOf } from './agents-bench.js'

const none = asEpoch(0)

describe('the table of agents', () => {
  const at = (node: string) => ({ v: 1, node_id: node, lease: `lease-${node}`, epoch: 1, at: 0, by: '' })
  const step = fc.record({
    name: fc.constantFrom('a', 'b'),
    what: fc.constantFrom('spec', 'at', 'end', 'pack'),
    value: fc.constantFrom(null, 'n1', 'n2'),
  })

  /** Carries the steps out in a store and returns it. */
  function storeOf(steps: readonly { name: string; what: string; value: string | null }[]): MemoryStoreState {
    const state = new MemoryStoreState({ nowMs: () => 0, identity: 'table' })
    for (const [i, { name, what, value }] of steps.entries()) {
      if (what === 'pack') {
        packBoth(state, `p${name}`, value, asEpoch(1 + (i % 3)))
        continue
      }
      const key = what === 'spec' ? specKey(name) : what === 'at' ? atKey(name) : endKey(name)
      const content =
        what === 'spec'
          ? encodeSpec(specOf(name))
          : what === 'at'
            ? at(value ?? '')
            : { epoch: 1, outcome: 'stopped', detail: value }
      state.txn({
        then: [value === null ? { type: 'delete', key } : { type: 'put', key, value: jsonEncode(content) }],
      })
    }
    return state
  }

  /** Both in one pack, for what is wanted of them now; the pack goes where no node is named. */
  function packBoth(state: MemoryStoreState, pack: string, nodeId: string | null, epoch: Epoch): void {
    const key = packPrefix + pack
    const at = { assignedAtMs: 0, to: null, by: '', moveId: '', state: '' }
    const packed = ['a', 'b'].flatMap((name) => {
      const madeRev = state.get(specKey(name))?.createRev
      if (nodeId === null || madeRev === undefined) return []
      return [{ name, madeRev, at: { ...at, nodeId, lease: asLeaseId(`lease-${nodeId}`), epoch } }]
    })
    state.txn({
      then: [
        nodeId === null
          ? { type: 'delete', key }
          : { type: 'put', key, value: jsonEncode(encodePack(packed)) },
      ],
    })
  }

  const pictureOf = (table: AgentTable) => ({
    entries: [...table.entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    leases: [...table.leases()].sort().map((l) => [l, [...table.namesOf(l)].sort()]),
  })

  it('says the same after following every change as after reading the whole', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const state = storeOf(steps)
        const followed = new AgentTable()
        for (const batch of state.readPage('', 1n).batches) followed.apply(batch)
        const read = new AgentTable()
        read.reset(state.list(''))
        expect(pictureOf(followed)).toEqual(pictureOf(read))
      }),
      { numRuns: 1_000 },
    )
  })

  it('is not misled by what comes again or late', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.array(fc.nat(19)), (steps, again) => {
        const state = storeOf(steps)
        const { batches } = state.readPage('', 1n)
        const table = new AgentTable()
        for (const batch of batches) table.apply(batch)
        const before = pictureOf(table)
        // Puts that the present ones replaced; what is deleted comes in order, by the watch alone.
        for (const i of again) {
          const batch = batches[i]
          const event = batch?.events[0]
          if (batch !== undefined && event?.type === 'put' && state.get(event.kv.key) !== null)
            table.apply(batch)
        }
        expect(pictureOf(table)).toEqual(before)
      }),
    )
  })

  it('tells which names changed, those that are gone after a reset too', () => {
    const table = new AgentTable()
    const told: string[] = []
    table.onChange((name) => told.push(name))
    for (const name of ['a', 'b']) table.reset(storeOf([{ name, what: 'spec', value: 'n1' }]).list(''))
    expect(told).toEqual(['a', 'a', 'b'])
    expect(table.get('a')).toBeUndefined()
  })

  it('keeps an agent whose description it cannot read, and one with a strategy of a later version', () => {
    const kv = (key: string, value: unknown): KeyValue => ({
      key,
      value: jsonEncode(value),
      createRev: 1n,
      modRev: 1n,
      version: 1,
      lease: null,
    })
    const table = new AgentTable()
    table.reset([
      kv(specKey('broken'), 'no object'),
      kv(atKey('broken'), at('n1')),
      kv(specKey('later'), { ...specOf('later'), strategy: 'clairvoyant' }),
    ])
    expect(table.get('broken')?.spec).toBeUndefined()
    expect(table.namesOf(asLeaseId('lease-n1')).has('broken')).toBe(true)
    expect(table.get('later')?.spec).toMatchObject({ name: 'later', desired: 'running' })
    expect(table.get('later')?.spec?.strategy).toBeUndefined()
  })
})

describe('places', () => {
  it('count what each lease has, was promised and is to hand over, whatever came before', () => {
    const lease = fc.constantFrom(asLeaseId('l1'), asLeaseId('l2'), asLeaseId('l3'))
    const change = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.option(lease), fc.option(lease))
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const places = new Places()
        const now = new Map<string, readonly [string, string | null]>()
        for (const [name, owner, to] of changes) {
          places.count(name, owner, to)
          if (owner === null) now.delete(name)
          else now.set(name, [owner, to])
        }
        for (const l of ['l1', 'l2', 'l3'].map(asLeaseId)) {
          const rows = [...now.values()]
          expect(places.agentsOf(l)).toBe(rows.flat().filter((x) => x === l).length)
          expect(places.leavingOf(l)).toBe(rows.filter(([owner, to]) => owner === l && to !== null).length)
        }
      }),
    )
  })
})

describe('a pack', () => {
  const packsOf = (bench: AgentsBench) => bench.state.list(packPrefix).map((kv) => kv.key)
  const sizes = (bench: AgentsBench) => bench.state.list(packPrefix).map((kv) => decodePack(kv).length)
  const names = (count: number) => Array.from({ length: count }, (_, i) => `a${i}`)
  const owners = (bench: AgentsBench, wanted: readonly string[]) =>
    wanted.map((name) => bench.assignment(name)?.nodeId)
  const placed = (count = 20) => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    for (const name of names(count)) bench.want(name)
    bench.settle()
    return bench
  }

  it('takes all that are placed at once where they are many; few have a key each', () => {
    const bench = placed(20)
    expect(sizes(bench)).toEqual([20])
    expect(bench.state.list(atPrefix)).toEqual([])
    expect(bench.starts('a7')).toHaveLength(1)
    expect(bench.feed('agent.assigned')).toHaveLength(20)
    for (let i = 0; i < 15; i++) bench.want(`b${i}`)
    bench.settle()
    expect(sizes(bench)).toEqual([20])
    expect(bench.state.list(atPrefix)).toHaveLength(15)
  })

  it('holds no more than can be decided in one step', () => {
    const bench = new AgentsBench()
    bench.node('n1', { maxAgents: 10_000 })
    for (const name of names(1_500)) bench.want(name)
    bench.pass(10)
    expect(sizes(bench).reduce((a, b) => a + b)).toBe(1_500)
    expect(Math.max(...sizes(bench))).toBeLessThanOrEqual(512)
    expect(bench.coordinator.agentsOf(bench.candidate('n1').lease)).toBe(1_500)
  })

  it('is left by each one with its next change, of which the last one counts', () => {
    const bench = placed()
    bench.node('n2')
    bench.want('a3', { move: { to: 'n2', id: 'm1' } })
    bench.settle()
    expect(bench.assignment('a3')).toMatchObject({ nodeId: 'n1', epoch: 1, to: { nodeId: 'n2' } })
    bench.tell('n1', { type: 'agent_stopped', name: 'a3', epoch: asEpoch(1), state: '' })
    bench.settle()
    expect(bench.assignment('a3')).toMatchObject({ nodeId: 'n2', epoch: 2, to: null })
    expect(sizes(bench)).toEqual([20])
  })

  it('takes what a dead node had, under higher epochs', () => {
    const bench = placed()
    bench.node('n2')
    bench.end('n1')
    bench.settle()
    expect(sizes(bench)).toEqual([20, 20])
    for (const name of names(20)) expect(bench.assignment(name)).toMatchObject({ nodeId: 'n2', epoch: 2 })
  })

  it('gives nothing to an agent of the same name that was made later', () => {
    const bench = placed()
    bench.want('a3', { desired: 'removed' })
    bench.settle()
    bench.tell('n1', { type: 'agent_stopped', name: 'a3', epoch: asEpoch(1), state: '' })
    bench.settle()
    expect(bench.state.get(specKey('a3'))).toBeNull()
    const guard = bench.leading
    bench.leading = null
    bench.want('a3')
    bench.settle()
    expect(bench.assignment('a3')).toBeUndefined()
    bench.leading = guard
    bench.settle()
    expect(bench.assignment('a3')?.epoch).toBe(2)
  })

  it('refuses what an owner writes of an agent of that name that is gone', () => {
    const bench = placed()
    bench.want('a3', { desired: 'removed' })
    bench.settle()
    bench.tell('n1', { type: 'agent_stopped', name: 'a3', epoch: asEpoch(1), state: '' })
    const ended = bench.asked.at(-1)?.effect.request
    bench.settle()
    bench.want('a3')
    bench.settle()
    if (ended?.op !== 'txn') throw new Error('nothing was written')
    expect(bench.state.txn(ended.txn).ok).toBe(false)
  })

  it.each(['lost before', 'lost after'] as const)(
    'whose answer was %s is settled before anybody in it is looked at again, and never comes late',
    (how) => {
      const bench = new AgentsBench({ rebalance: false })
      bench.node('n1')
      for (const name of names(20)) bench.want(name)
      bench.watch()
      bench.step()
      const first = bench.asked[0]?.effect.request
      if (first?.op !== 'txn') throw new Error('nothing was written')
      bench.answer(how)
      // By now somebody else is the better choice.
      bench.node('n2', { maxAgents: 1_000 })
      bench.candidate('n1').cpuPct = 100
      bench.watch()
      bench.step()
      expect(bench.asked).toEqual([])
      bench.pass(100)
      expect(bench.state.txn(first.txn).ok).toBe(false)
      expect(new Set(owners(bench, names(20)))).toEqual(new Set([how === 'lost before' ? 'n2' : 'n1']))
      for (const name of names(20)) expect(bench.assignment(name)?.epoch).toBe(1)
      expect(bench.starts('a7')).toHaveLength(1)
    },
  )

  it('of unknown outcome is settled too by who ceased to lead meanwhile and leads again in the same term', () => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    for (const name of names(20)) bench.want(name)
    bench.watch()
    bench.step()
    const first = bench.asked.shift()?.effect.request
    if (first?.op !== 'txn') throw new Error('nothing was written')
    const guard = bench.leading
    bench.leading = null
    bench.step()
    bench.leading = guard
    bench.pass(200)
    expect(bench.state.txn(first.txn).ok).toBe(false)
    expect(owners(bench, names(20)).filter((id) => id === 'n1')).toHaveLength(20)
  })

  it('written before one ceased to lead is not written again by the same, whose view is late', () => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    bench.node('n2')
    for (const name of names(20)) bench.want(name)
    bench.watch()
    bench.step()
    bench.answer()
    const guard = bench.leading
    bench.leading = null
    bench.step()
    bench.leading = guard
    bench.step()
    expect(bench.asked).toEqual([])
    bench.settle()
    expect(packsOf(bench)).toHaveLength(1)
    const counted = ['n1', 'n2'].map((id) => bench.coordinator.agentsOf(bench.candidate(id).lease))
    expect(counted).toEqual([10, 10])
  })

  it('is not written while the view is older than the term', () => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    for (const name of names(20)) bench.want(name)
    bench.watch()
    bench.put('leader', 2)
    bench.leading = { key: 'leader', target: 'modRev', op: '=', value: bench.state.rev }
    bench.step()
    bench.answer()
    expect(packsOf(bench)).toEqual([])
    expect(bench.state.list(atPrefix)).toHaveLength(20)
  })

  it('holds nobody of whom an earlier write may still come', () => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    bench.want('a0')
    bench.watch()
    bench.step()
    const first = bench.asked[0]?.effect.request
    if (first?.op !== 'txn') throw new Error('nothing was written')
    bench.answer('lost before')
    for (const name of names(20)) bench.want(name)
    bench.pass(1_000)
    expect(bench.state.get(atKey('a0'))).not.toBeNull()
    expect(sizes(bench)).toEqual([19])
    expect(bench.state.txn(first.txn).ok).toBe(false)
  })

  it('is struck out by half, and goes when nobody is in it any more', () => {
    const bench = placed(20)
    bench.node('n2')
    const move = (wanted: readonly string[]) => {
      for (const name of wanted) bench.want(name, { move: { to: 'n2', id: 'm1' } })
      bench.settle()
      for (const name of wanted)
        bench.tell('n1', { type: 'agent_stopped', name, epoch: asEpoch(1), state: '' })
      bench.settle()
    }
    move(names(9))
    bench.pass(30_000)
    expect(sizes(bench)).toEqual([20])
    move(['a9'])
    bench.pass(30_000)
    expect(sizes(bench)).toEqual([10])
    expect(new Set(owners(bench, names(20)).slice(10))).toEqual(new Set(['n1']))
    move(names(20).slice(10))
    bench.pass(30_000)
    expect(packsOf(bench)).toEqual([])
    expect(new Set(owners(bench, names(20)))).toEqual(new Set(['n2']))
  })

  it('that was emptied to settle an outcome stays as long as the term', () => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    for (const name of names(20)) bench.want(name)
    bench.watch()
    bench.step()
    bench.answer('lost before')
    bench.pass(61_000)
    expect(sizes(bench).toSorted()).toEqual([0, 20])
    bench.term = 2
    bench.put('leader', 2)
    bench.leading = { key: 'leader', target: 'modRev', op: '=', value: bench.state.rev }
    bench.pass(61_000)
    expect(sizes(bench)).toEqual([20])
  })
})

describe('the coordinator', () => {
  it('places what is wanted, evenly, each under its first epoch', () => {
    const bench = new AgentsBench()
    for (const id of ['n1', 'n2', 'n3']) bench.node(id)
    for (let i = 0; i < 300; i++) bench.want(`a${i}`)
    bench.settle()
    for (const id of ['n1', 'n2', 'n3'])
      expect(bench.table.namesOf(bench.candidate(id).lease).size, id).toBe(100)
    expect(bench.assignment('a7')).toMatchObject({ epoch: 1, by: 'least_loaded', to: null })
    expect(bench.feed('agent.assigned')).toHaveLength(300)
  })

  it('does nothing while it does not lead, and nothing that it writes in the name of an old term takes effect', () => {
    const bench = new AgentsBench()
    bench.node('n1')
    bench.want('a')
    const guard = bench.leading
    bench.leading = null
    bench.settle()
    expect(bench.assignment('a')).toBeUndefined()
    bench.leading = guard
    bench.watch()
    bench.step()
    expect(bench.asked).toHaveLength(1)
    bench.put('leader', 2)
    bench.answer()
    expect(bench.assignment('a')).toBeUndefined()
    bench.leading = {
      key: 'leader',
      target: 'modRev',
      op: '=',
      value: bench.state.get('leader')?.modRev ?? 0n,
    }
    bench.pass(100)
    expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', epoch: 1 })
  })

  it('decides once, however late its view hears of it, and gives no place twice meanwhile', () => {
    const bench = new AgentsBench()
    bench.node('n1', { maxAgents: 1 })
    bench.want('a')
    bench.watch()
    bench.step()
    bench.answer()
    const { rev } = bench.state
    bench.want('b')
    bench.step()
    bench.step()
    expect(bench.asked).toHaveLength(0)
    bench.settle()
    expect(bench.state.get(atKey('a'))?.modRev).toBe(rev)
    expect(bench.assignment('b')).toBeUndefined()
    expect(bench.coordinator.waitingCount).toBe(1)
    expect(bench.coordinator.agentsOf(bench.candidate('n1').lease)).toBe(1)
  })

  it.each(['lost before', 'lost after'] as const)(
    'finds out what became of a write whose answer was %s',
    (how) => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.node('n2')
      bench.want('a')
      bench.watch()
      bench.step()
      bench.answer(how)
      bench.pass(1_000)
      expect(bench.assignment('a')?.epoch).toBe(1)
      const counted = ['n1', 'n2'].map((id) => bench.coordinator.agentsOf(bench.candidate(id).lease))
      expect(counted.toSorted()).toEqual([0, 1])
    },
  )

  it('takes no answer for its own that comes after it has led, ceased, and leads again', () => {
    const bench = new AgentsBench()
    bench.node('n1')
    bench.want('a')
    bench.watch()
    bench.step()
    const guard = bench.leading
    bench.leading = null
    bench.step()
    bench.leading = guard
    bench.step()
    // Both requests are on their way; the second meets what the first has written.
    expect(bench.asked).toHaveLength(2)
    bench.answer()
    expect(bench.feed('agent.assigned')).toHaveLength(0)
    bench.answer()
    bench.pass(200)
    expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', epoch: 1 })
    expect(bench.coordinator.agentsOf(bench.candidate('n1').lease)).toBe(1)
  })

  describe('epochs', () => {
    it('of a name never come twice, though the agent was removed between', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      for (let life = 1; life <= 3; life++) {
        bench.want('a')
        bench.settle()
        expect(bench.assignment('a')?.epoch).toBe(life)
        bench.want('a', { desired: 'removed' })
        bench.settle()
        bench.tell('n1', { type: 'agent_stopped', name: 'a', epoch: asEpoch(life), state: '' })
        bench.settle()
        expect(bench.state.get(specKey('a'))).toBeNull()
        expect(bench.state.get(atKey('a'))).toBeNull()
      }
      expect(bench.view.json(floorKey)).toMatchObject({ epoch: 3 })
      // Another leader knows it from the store.
      bench.want('other')
      bench.settle()
      expect(bench.assignment('other')?.epoch).toBe(4)
    })

    it('begin above what the journal has seen', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.node('n2')
      bench.want('a')
      bench.settle()
      const nodeId = bench.assignment('a')?.nodeId as string
      bench.tell(nodeId, {
        type: 'agent_report',
        name: 'a',
        epoch: asEpoch(1),
        outcome: 'refused',
        detail: 'the journal holds a state of epoch 9',
        floor: asEpoch(9),
      })
      bench.settle()
      expect(bench.assignment('a')?.epoch).toBe(10)
    })
  })

  describe('what could not be run', () => {
    const refuse = (bench: AgentsBench, nodeId: string) => {
      const epoch = bench.assignment('a')?.epoch as ReturnType<typeof asEpoch>
      bench.tell(nodeId, {
        type: 'agent_report',
        name: 'a',
        epoch,
        outcome: 'refused',
        detail: 'no',
        floor: none,
      })
      bench.settle()
    }

    it('goes elsewhere at once', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.node('n2')
      bench.want('a')
      bench.settle()
      const first = bench.assignment('a')?.nodeId as string
      refuse(bench, first)
      expect(bench.assignment('a')).toMatchObject({ nodeId: first === 'n1' ? 'n2' : 'n1', epoch: 2 })
    })

    it('comes back to the only node that there is after a pause, a longer one each time', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.want('a')
      bench.settle()
      for (const [i, pauseMs] of [2_000, 4_000, 8_000, 16_000].entries()) {
        refuse(bench, 'n1')
        // Looked at again each second: at the latest one after the pause.
        bench.pass(pauseMs - 1)
        expect(bench.assignment('a')?.epoch, `before pause ${i + 1} is over`).toBe(i + 1)
        expect(bench.coordinator.waitingCount).toBe(1)
        bench.pass(1_001)
        expect(bench.assignment('a')?.epoch, `after pause ${i + 1}`).toBe(i + 2)
      }
      expect(bench.coordinator.waitingCount).toBe(0)
    })

    it('pauses shortly again after a long time without refusals', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.want('a')
      bench.settle()
      for (let i = 0; i < 5; i++) {
        refuse(bench, 'n1')
        bench.pass(61_000)
      }
      bench.pass(200_000)
      const epoch = bench.assignment('a')?.epoch as number
      refuse(bench, 'n1')
      bench.pass(3_001)
      expect(bench.assignment('a')?.epoch).toBe(epoch + 1)
    })
  })

  describe('what nobody can take', () => {
    it('waits, and is placed as soon as somebody comes who can', () => {
      const bench = new AgentsBench()
      bench.node('n1', { kinds: [] })
      bench.want('a')
      bench.settle()
      expect(bench.coordinator.waitingCount).toBe(1)
      bench.node('n2')
      bench.settle()
      expect(bench.assignment('a')?.nodeId).toBe('n2')
      expect(bench.coordinator.waitingCount).toBe(0)
    })

    it('is tried again by itself when what changed does not show', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.want('a', { services: ['database'] })
      bench.settle()
      bench.candidate('n1').services = ['database']
      bench.settle()
      bench.pass(1_000)
      expect(bench.assignment('a')?.nodeId).toBe('n1')
    })

    it('does not wait any more when it is not wanted any more', () => {
      const bench = new AgentsBench()
      bench.want('a')
      bench.settle()
      expect(bench.coordinator.waitingCount).toBe(1)
      bench.want('a', { desired: 'removed' })
      bench.settle()
      expect(bench.coordinator.waitingCount).toBe(0)
      expect(bench.entry('a')).toBeUndefined()
    })
  })

  describe('moves', () => {
    const placed = (over = {}) => {
      const bench = new AgentsBench({ rebalance: false })
      bench.node('n1')
      bench.want('a', over)
      bench.settle()
      return bench
    }

    it('are asked of the owner, who hands over', () => {
      const bench = placed()
      bench.node('n2')
      bench.want('a', { move: { to: 'n2', id: 'm1' } })
      bench.settle()
      expect(bench.assignment('a')).toMatchObject({
        nodeId: 'n1',
        epoch: 1,
        to: { nodeId: 'n2' },
        by: 'migrate',
      })
      bench.tell('n1', { type: 'agent_stopped', name: 'a', epoch: asEpoch(1), state: 'token' })
      bench.settle()
      expect(bench.assignment('a')).toMatchObject({
        nodeId: 'n2',
        epoch: 2,
        to: null,
        moveId: 'm1',
        state: 'token',
      })
      expect(bench.said).toContainEqual({ type: 'agent_handed', name: 'a', epoch: 1, to: 'n2' })
    })

    it('that nobody can take are refused for good, and whoever asked sees it', () => {
      const bench = placed()
      bench.node('n2', { maxAgents: 0 })
      bench.want('a', { move: { to: 'n2', id: 'm1' } })
      bench.settle()
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', epoch: 1, to: null, moveId: 'm1' })
      expect(bench.feed('agent.move_refused')).toEqual([{ agent: 'a', node: 'n2' }])
      // It stays refused when there is room later.
      bench.candidate('n2').maxAgents = 10
      bench.pass(10_000)
      expect(bench.assignment('a')?.nodeId).toBe('n1')
    })

    it('to the node where it is already are refused', () => {
      const bench = placed()
      bench.node('n2')
      bench.want('a', { move: { to: 'n1', id: 'm1' } })
      bench.settle()
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', to: null, moveId: 'm1' })
    })

    it('are called off when the node named cannot take it any more, and it goes on where it was', () => {
      const bench = placed()
      bench.node('n2')
      bench.want('a', { move: { to: 'n2', id: 'm1' } })
      bench.settle()
      bench.candidate('n2').refusal = 'it is draining'
      bench.settle()
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', to: null })
      bench.tell('n1', { type: 'agent_stopped', name: 'a', epoch: asEpoch(1), state: '' })
      bench.settle()
      expect(bench.starts('a')).toHaveLength(2)
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', epoch: 1 })
    })

    it('off a node that drains go on a few at a time until it is empty', () => {
      const bench = new AgentsBench({ movingMax: 3, rebalance: false })
      const from = bench.node('n1')
      for (let i = 0; i < 10; i++) bench.want(`a${i}`)
      bench.settle()
      bench.node('n2')
      bench.candidate('n1').moveOff = 'drain'
      bench.candidate('n1').refusal = 'it is draining'
      for (let rounds = 0; rounds < 10; rounds++) {
        bench.settle()
        const leaving = [...bench.table.namesOf(from)].filter((n) => bench.assignment(n)?.to !== null)
        expect(leaving.length).toBeLessThanOrEqual(3)
        for (const name of leaving)
          bench.tell('n1', { type: 'agent_stopped', name, epoch: asEpoch(1), state: '' })
      }
      bench.settle()
      expect(bench.table.namesOf(from).size).toBe(0)
      expect(bench.table.namesOf(bench.candidate('n2').lease).size).toBe(10)
    })

    it('off a node that drains wait for somebody who can take them', () => {
      const bench = placed({ services: ['database'] })
      bench.candidate('n1').services = ['database']
      bench.pass(1_000)
      expect(bench.assignment('a')?.nodeId).toBe('n1')
      bench.node('n2')
      bench.candidate('n1').moveOff = 'drain'
      bench.candidate('n1').refusal = 'it is draining'
      bench.settle()
      expect(bench.assignment('a')?.to).toBeNull()
      bench.candidate('n2').services = ['database']
      bench.pass(1_001)
      expect(bench.assignment('a')?.to).toMatchObject({ nodeId: 'n2' })
    })
  })

  describe('a lease that ended', () => {
    it('gives a defined agent to another at once, under a higher epoch', () => {
      const bench = new AgentsBench()
      bench.node('n1')
      bench.want('a')
      bench.settle()
      bench.node('n2')
      bench.end('n1')
      bench.settle()
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n2', epoch: 2, by: 'orphan' })
    })

    /** Its lease was ended before its time, by somebody who could prove that the node is dead. */
    const withProcess = () => {
      const bench = new AgentsBench()
      const lease = bench.node('n1')
      bench.want('a', { kind: 'process' })
      bench.put(guardKey(lease), { v: 1, life_lock: '/locks/guard' })
      bench.put(earlyKey(lease), { v: 1 })
      bench.settle()
      bench.node('n2')
      bench.end('n1')
      bench.settle()
      expect(bench.assignment('a')?.nodeId).toBe('n1')
      expect(bench.said).toContainEqual({ type: 'prove_guard', lease, locator: '/locks/guard' })
      return { bench, lease }
    }

    it('gives a process to another when its guard is proved gone', () => {
      const { bench, lease } = withProcess()
      for (const result of ['alive', 'unknown'] as const) {
        bench.proof(lease, result)
        bench.pass(200)
        expect(bench.assignment('a')?.nodeId, result).toBe('n1')
      }
      bench.proof(lease, 'dead')
      bench.pass(1)
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n2', epoch: 2 })
    })

    it('or when a guard that follows the rules must have ended it: a time to live later, not before', () => {
      const { bench } = withProcess()
      bench.pass(4_900)
      expect(bench.assignment('a')?.nodeId).toBe('n1')
      bench.pass(200)
      expect(bench.assignment('a')).toMatchObject({ nodeId: 'n2', epoch: 2 })
    })

    it.each([
      ['no guard was ever started', false],
      ['the lease ran out by itself: its guard has ended all by then', true],
    ])('gives a process to another at once where %s', (_, hadGuard) => {
      const bench = new AgentsBench()
      const lease = bench.node('n1')
      bench.want('a', { kind: 'process' })
      if (hadGuard) bench.put(guardKey(lease), { v: 1, life_lock: '/locks/guard' })
      bench.settle()
      bench.node('n2')
      bench.end('n1')
      bench.settle()
      expect(bench.assignment('a')?.nodeId).toBe('n2')
    })
  })

  describe('balance', () => {
    /** Twenty agents on one node, then a second one. Every stop is carried out. */
    const uneven = (over: { strategy?: 'binpack'; kind?: string } = {}, rebalance = true) => {
      const bench = new AgentsBench({ rebalance, movingMax: 5 })
      bench.node('n1')
      for (let i = 0; i < 20; i++) bench.want(`a${i}`, over)
      bench.settle()
      bench.node('n2')
      for (let rounds = 0; rounds < 20; rounds++) {
        bench.pass(2_500)
        for (const name of [...bench.table.namesOf(bench.candidate('n1').lease)])
          if (bench.assignment(name)?.to !== null)
            bench.tell('n1', { type: 'agent_stopped', name, epoch: asEpoch(1), state: '' })
      }
      return ['n1', 'n2'].map((id) => bench.table.namesOf(bench.candidate(id).lease).size)
    }

    it('evens out defined agents by itself, a few at a time', () => {
      expect(uneven()).toEqual([10, 10])
    })

    it('leaves alone processes, what is packed on purpose, and everything when it is told to', () => {
      expect(uneven({ kind: 'process' })).toEqual([20, 0])
      expect(uneven({ strategy: 'binpack' })).toEqual([20, 0])
      expect(uneven({}, false)).toEqual([20, 0])
    })
  })
})

describe('the host', () => {
  const running = (over = {}) => {
    const bench = new AgentsBench({ rebalance: false })
    bench.node('n1')
    bench.want('a', over)
    bench.settle()
    bench.tell('n1', {
      type: 'agent_report',
      name: 'a',
      epoch: asEpoch(1),
      outcome: 'running',
      detail: '',
      floor: none,
    })
    bench.settle()
    return bench
  }
  const stopped = (bench: AgentsBench, epoch = 1) =>
    bench.tell('n1', { type: 'agent_stopped', name: 'a', epoch: asEpoch(epoch), state: '' })

  /** Asked to move to n2 and at rest; the hand-over is on its way to the store. */
  const handingOver = () => {
    const bench = running()
    bench.node('n2')
    bench.want('a', { move: { to: 'n2', id: 'm1' } })
    bench.settle()
    stopped(bench)
    expect(bench.asked).toHaveLength(1)
    return bench
  }

  it.each(['lost before', 'lost after'] as const)('hands over once though the answer was %s', (how) => {
    const bench = handingOver()
    bench.answer(how)
    bench.pass(500)
    expect(bench.assignment('a')).toMatchObject({ nodeId: 'n2', epoch: 2 })
    expect(bench.said.filter((e) => e.type === 'agent_handed')).toEqual([
      { type: 'agent_handed', name: 'a', epoch: 1, to: 'n2' },
    ])
    expect(bench.starts('a')).toHaveLength(2)
  })

  it('does not hand over to whom the leader has withdrawn meanwhile, when the first answer was lost', () => {
    const bench = handingOver()
    bench.answer('lost before')
    bench.candidate('n2').refusal = 'it is draining'
    bench.pass(500)
    expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', epoch: 1, to: null })
    // It goes on where it was.
    expect(bench.starts('a')).toHaveLength(2)
  })

  it('goes on where it was when the node that it was to go to is gone', () => {
    const bench = handingOver()
    bench.end('n2')
    bench.answer()
    bench.pass(500)
    expect(bench.assignment('a')).toMatchObject({ nodeId: 'n1', epoch: 1, to: null })
    expect(bench.starts('a')).toHaveLength(2)
    expect(bench.said.filter((e) => e.type === 'agent_handed')).toEqual([])
  })

  it('goes on when its view learns late, and bit by bit, of what its hand-over was refused for', () => {
    const bench = handingOver()
    bench.candidate('n2').refusal = 'it is draining'
    bench.step()
    // The leader is quicker, and somebody writes something else after it.
    bench.asked.reverse()
    bench.answer()
    bench.put('other', 1)
    bench.answer()
    bench.nowMs += 100
    bench.step()
    for (let transaction = 0; transaction < 2; transaction++) {
      bench.watch(1)
      bench.step()
    }
    bench.pass(500)
    expect(bench.starts('a')).toHaveLength(2)
  })

  it('begins to stop when renewals fail, and goes on under the same epoch when they succeed again', () => {
    const bench = running()
    bench.fadeAtMs = bench.nowMs + 100
    bench.pass(10)
    bench.pass(200)
    expect(bench.said.at(-1)).toMatchObject({ type: 'agent_stop', why: 'fading' })
    stopped(bench)
    bench.settle()
    expect(bench.starts('a')).toHaveLength(1)
    bench.fadeAtMs = bench.nowMs + 10_000
    bench.settle()
    expect(bench.starts('a')).toHaveLength(2)
    expect(bench.assignment('a')?.epoch).toBe(1)
  })

  it('goes on too when they succeed before it has stopped', () => {
    const bench = running()
    bench.fadeAtMs = bench.nowMs
    bench.settle()
    bench.fadeAtMs = bench.nowMs + 10_000
    bench.settle()
    expect(bench.starts('a')).toHaveLength(1)
    stopped(bench)
    bench.settle()
    expect(bench.starts('a')).toHaveLength(2)
  })

  it('starts nothing while renewals fail', () => {
    const bench = new AgentsBench()
    bench.node('n1')
    bench.fadeAtMs = bench.nowMs
    bench.want('a')
    bench.settle()
    expect(bench.assignment('a')?.nodeId).toBe('n1')
    expect(bench.starts('a')).toEqual([])
    bench.fadeAtMs = bench.nowMs + 10_000
    bench.settle()
    expect(bench.starts('a')).toHaveLength(1)
  })

  it('stops what was given to another, and forgets it', () => {
    const bench = running()
    bench.put(atKey('a'), { v: 1, node_id: 'n9', lease: 'other', epoch: 2, at: 0, by: 'test' })
    bench.leading = null
    bench.settle()
    expect(bench.said.at(-1)).toMatchObject({ type: 'agent_stop', why: 'lost', epoch: 1 })
    stopped(bench)
    bench.settle()
    expect(bench.hosts.get('n1')?.active()).toEqual([])
    expect(bench.asked).toEqual([])
  })

  it('takes up a later epoch of its own only when nothing of the former is left', () => {
    const bench = running()
    const { lease } = bench.candidate('n1')
    bench.leading = null
    bench.put(atKey('a'), { v: 1, node_id: 'n1', lease, epoch: 5, at: 0, by: 'test' })
    bench.settle()
    expect(bench.starts('a')).toEqual([`${lease} 1`])
    stopped(bench)
    bench.settle()
    expect(bench.starts('a')).toEqual([`${lease} 1`, `${lease} 5`])
  })

  it('begins anew, where it is, when it is asked to', () => {
    const bench = running()
    bench.want('a', { generation: 1 })
    bench.settle()
    expect(bench.said.at(-1)).toMatchObject({ type: 'agent_stop', why: 'moved', to: null })
    stopped(bench)
    bench.settle()
    expect(bench.starts('a')).toHaveLength(2)
    expect(bench.assignment('a')?.epoch).toBe(1)
  })

  it('tells what runs of a changed wish without stopping it', () => {
    const bench = running()
    bench.want('a', { desired: 'paused' })
    bench.settle()
    expect(bench.said.at(-1)).toMatchObject({ type: 'agent_spec', spec: { desired: 'paused' } })
  })

  it.each(['carried out', 'lost before', 'lost after'] as const)(
    'writes down how it ended, and it is not placed again: the answer was %s',
    (how) => {
      const bench = running()
      bench.tell('n1', {
        type: 'agent_report',
        name: 'a',
        epoch: asEpoch(1),
        outcome: 'completed',
        detail: 'all done',
        floor: none,
      })
      bench.answer(how)
      bench.pass(500)
      expect(bench.entry('a')?.end).toMatchObject({ outcome: 'completed', detail: 'all done', epoch: 1 })
      expect(bench.assignment('a')?.epoch).toBe(1)
      expect(bench.coordinator.agentsOf(bench.candidate('n1').lease)).toBe(0)
      // Asked to run again, it is placed again.
      bench.want('a', { generation: 1 })
      bench.settle()
      expect(bench.assignment('a')?.epoch).toBe(2)
      expect(bench.starts('a')).toHaveLength(2)
    },
  )

  it('does not start what was removed before it began', () => {
    const bench = new AgentsBench()
    bench.node('n1')
    bench.want('a')
    bench.watch()
    bench.step()
    bench.answer()
    bench.want('a', { desired: 'removed' })
    bench.settle()
    expect(bench.starts('a')).toEqual([])
    expect(bench.entry('a')).toBeUndefined()
  })

  it('knows nothing any more of what it had under a lease that is lost', () => {
    const bench = handingOver()
    bench.tell('n1', { type: 'lease_lost' })
    expect(bench.hosts.get('n1')?.active()).toEqual([])
    // A late answer of that time changes nothing.
    const before = bench.said.length
    bench.answer()
    expect(bench.said.slice(before).filter((e) => e.type === 'agent_handed')).toEqual([])
  })
})
