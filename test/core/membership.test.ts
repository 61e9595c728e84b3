import { describe, expect, it } from 'vitest'
import { asBootId, asBootNumber, asIncarnation } from '../../src/core/kernel/brand.js'
import { type Claim, type MemberRecord, noTelemetry } from '../../src/core/membership/member.js'
import { recordOf } from './claims.js'
import { laterBoot, type Machine, Machines, wallStartMs } from './machines.js'

describe('joining', () => {
  it('makes three machines know one another, with equal digests', () => {
    const world = new Machines()
    const machines = world.joined(3)
    for (const a of machines)
      for (const b of machines) expect(a.sees(b.id), `${a.id} of ${b.id}`).toBe('alive')
    expect(new Set(machines.map((m) => m.membership.table.digest())).size).toBe(1)
    expect(machines.every((m) => m.membership.settled)).toBe(true)
  })

  it('goes on asking until a seed is there', () => {
    const world = new Machines()
    const n2 = world.start('n2', ['n1'])
    world.run(20_000)
    expect(n2.membership.settled).toBe(false)
    const n1 = world.start('n1')
    world.until(() => n2.sees('n1') === 'alive' && n1.sees('n2') === 'alive', 6_000)
  })

  it('finds others by the hints of the store, without any seed', () => {
    const world = new Machines()
    const [n1, n2] = [world.start('n1'), world.start('n2')]
    n2.step({
      type: 'hints',
      hints: [
        { nodeId: 'n1', address: 'n1:1' },
        { nodeId: 'n2', address: 'n2:1' },
      ],
    })
    world.run(500)
    expect([n1.sees('n2'), n2.sees('n1')]).toEqual(['alive', 'alive'])
  })

  it('refuses a node of another cluster, naming both and the fix', () => {
    const world = new Machines()
    const n1 = world.start('n1')
    const n2 = world.start('n2', ['n1'], {}, { clusterName: 'green' })
    world.run(1_000)
    expect(n2.effects).toContainEqual({
      type: 'refused',
      by: 'n1',
      detail:
        'this is cluster "blue", the joining node belongs to "green": start it with --cluster-name blue or give it other peers',
    })
    expect([n1.sees('n2'), n2.sees('n1')]).toEqual(['unknown', 'unknown'])
  })

  it('refuses a node with another store, naming both and the fix', () => {
    const world = new Machines()
    const n1 = world.start('n1')
    const n2 = world.start('n2', ['n1'], {}, { storeIdentity: 'store-2' })
    world.run(1_000)
    const refusal = n2.effects.find((e) => e.type === 'refused')
    expect(refusal?.detail).toBe(
      'the nodes of cluster "blue" use store store-1, the joining node uses store-2: give it the same --store',
    )
    expect(n1.sees('n2')).toBe('unknown')
  })

  it('takes a restarted node for the same member with a later boot', () => {
    const world = new Machines()
    const [n1] = world.joined(3)
    world.isolate('n3')
    world.until(() => n1!.sees('n3') === 'failed', 15_000)
    world.cuts.clear()
    world.start('n3', ['n1'], laterBoot('n3', 9))
    world.until(() => n1!.sees('n3') === 'alive', 2_000)
    expect(n1!.membership.table.get('n3')?.record.boot).toBe(9)
  })

  it('tells a process that a later boot of its node id is there', () => {
    const world = new Machines()
    const [, n2] = world.joined(2)
    world.start('n2', ['n1'], laterBoot('n2', 9))
    n2!.step({
      type: 'message',
      from: 'n1:1',
      via: 'datagram',
      message: { type: 'gossip', from: 'n1', digest: 0, claims: world.get('n1').membership.table.claims() },
    })
    expect(n2!.effects.some((e) => e.type === 'superseded')).toBe(false)
    world.run(1_000)
    n2!.step({
      type: 'message',
      from: 'n1:1',
      via: 'datagram',
      message: { type: 'gossip', from: 'n1', digest: 0, claims: world.get('n1').membership.table.claims() },
    })
    expect(n2!.effects).toContainEqual(
      expect.objectContaining({ type: 'superseded', by: expect.objectContaining({ boot: 9 }) }),
    )
  })
})

describe('failing', () => {
  it('suspects a silent member after two missed probes, not after one', () => {
    const world = new Machines()
    const [n1] = world.joined(3)
    world.isolate('n3')
    world.until(() => n1!.evidenceOf('n3').length > 0, 3_000)
    expect(n1!.sees('n3')).toBe('alive')
    const entry = n1!.membership.table.get('n3')
    expect(entry?.missedProbes).toBe(1)
    world.until(() => n1!.sees('n3') === 'suspect', 3_000)
    expect(entry?.missedProbes).toBeGreaterThanOrEqual(2)
  })

  it('fails it after five, not sooner, and says why', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(3)
    world.isolate('n3')
    const tookMs = world.until(() => n1!.sees('n3') === 'failed' && n2!.sees('n3') === 'failed', 15_000)
    // Two misses to be suspected, three more intervals to be failed.
    expect(tookMs).toBeGreaterThan(4_000)
    expect(tookMs).toBeLessThan(9_000)
    expect(n1!.historyOf('n3')).toEqual(['alive', 'suspect', 'failed'])
    const reasons = [...n1!.evidenceOf('n3'), ...n2!.evidenceOf('n3')]
    expect(reasons).toContain('suspicion_expired')
    expect(n1!.sees('n2')).toBe('alive')
  })

  it('does not fail a member whose datagrams alone are lost between two nodes: others and the stream reach it', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(3)
    world.cut('n1', 'n2')
    world.run(30_000)
    expect([n1!.sees('n2'), n2!.sees('n1')]).toEqual(['alive', 'alive'])
    expect(world.carried).toContain('n1>n3 ping_req')
  })

  it('takes back a suspicion when the accused refutes it with a new incarnation', () => {
    const world = new Machines()
    const [n1, n2, n3] = world.joined(3)
    world.isolate('n3')
    world.until(() => n1!.sees('n3') === 'suspect', 10_000)
    const before = n3!.membership.self.incarnation
    world.cuts.clear()
    world.until(() => n1!.sees('n3') === 'alive' && n2!.sees('n3') === 'alive', 3_000)
    expect(n3!.membership.self.incarnation).toBeGreaterThan(before)
    expect(n1!.evidenceOf('n3')).toContain('refuted')
    expect(n1!.historyOf('n3')).not.toContain('failed')
  })

  it('fails a member at once whose connection broke and whose redial is refused, with both as evidence', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(2)
    n2!.stopped = true
    const bootId = n2!.membership.self.bootId
    n1!.step({ type: 'connection_lost', nodeId: 'n2', bootId, address: 'n2:2', detail: 'reset by peer' })
    expect(n1!.sees('n2')).toBe('alive')
    n1!.step({ type: 'dial_refused', address: 'n2:2', detail: 'ECONNREFUSED' })
    expect(n1!.sees('n2')).toBe('failed')
    expect(n1!.evidenceOf('n2')).toEqual(['connection_lost', 'dial_refused'])
  })

  it('fails nobody for a refused dial alone, a lost connection of an earlier boot, or one long ago', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(2)
    const refused = { type: 'dial_refused', address: 'n2:2', detail: 'ECONNREFUSED' } as const
    n1!.step(refused)
    n1!
      .step({ type: 'connection_lost', nodeId: 'n2', bootId: 'another', address: 'n2:2', detail: '' })
      .step(refused)
    expect(n1!.sees('n2')).toBe('alive')
    n1!.step({
      type: 'connection_lost',
      nodeId: 'n2',
      bootId: n2!.membership.self.bootId,
      address: 'n2:2',
      detail: '',
    })
    // Acks say that it lives.
    world.run(2_000)
    expect(n1!.step(refused).sees('n2')).toBe('alive')
  })

  it('fails a member whose death is proved, and only that boot', () => {
    const world = new Machines()
    const [n1] = world.joined(2)
    n1!.step({ type: 'death_proved', nodeId: 'n2', boot: asBootNumber(99), detail: 'lock obtained' })
    expect(n1!.sees('n2')).toBe('alive')
    n1!.step({ type: 'death_proved', nodeId: 'n2', boot: asBootNumber(1), detail: 'lock obtained' })
    expect(n1!.sees('n2')).toBe('failed')
    expect(n1!.evidenceOf('n2').at(-1)).toBe('death_proved')
  })

  it('withholds its verdicts after it stood still itself', () => {
    const world = new Machines()
    const [n1] = world.joined(3)
    n1!.stopped = true
    world.run(2_000)
    world.isolate('n3')
    n1!.stopped = false
    n1!.step({ type: 'deadline' })
    expect(n1!.effects).toContainEqual(expect.objectContaining({ type: 'note', event: 'member.own_stall' }))
    expect(n1!.membership.isWithholding(world.nowMs)).toBe(true)
    n1!.step({ type: 'connection_lost', nodeId: 'n3', bootId: 'n3#1', address: 'n3:2', detail: '' })
    n1!.step({ type: 'dial_refused', address: 'n3:2', detail: '' })
    expect(n1!.sees('n3')).toBe('alive')
    world.cut('n1', 'n2')
    world.run(1_900)
    expect([n1!.sees('n2'), n1!.sees('n3')]).toEqual(['alive', 'alive'])
    expect(n1!.membership.health).toBeGreaterThan(0)
  })

  it('speaks up with a new incarnation when it wakes', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(2)
    const before = n1!.membership.self.incarnation
    n1!.step({ type: 'woke' })
    world.run(500)
    expect(n2!.membership.table.get('n1')?.record.incarnation).toBe(before + 1)
  })
})

describe('leaving and coming back', () => {
  it('tells everybody that it leaves, then that it left, and is not called failed', () => {
    const world = new Machines()
    const [n1, n2, n3] = world.joined(3)
    n3!.step({ type: 'set_self', change: { lifecycle: 'leaving' } })
    world.run(10)
    expect(n1!.membership.table.get('n3')).toMatchObject({
      status: 'alive',
      record: { lifecycle: 'leaving' },
    })
    n3!.step({ type: 'set_self', change: { lifecycle: 'left' } })
    world.run(10)
    n3!.stopped = true
    world.run(30_000)
    expect([n1!.sees('n3'), n2!.sees('n3')]).toEqual(['left', 'left'])
    expect([...n1!.historyOf('n3'), ...n2!.historyOf('n3')]).not.toContain('failed')
  })

  it('dials the failed again, so that a healed partition ends by itself', () => {
    const world = new Machines()
    const machines = world.joined(3)
    world.isolate('n3')
    world.until(
      () => world.get('n1').sees('n3') === 'failed' && world.get('n3').sees('n1') === 'failed',
      30_000,
    )
    world.cuts.clear()
    world.until(() => machines.every((a) => machines.every((b) => a.sees(b.id) === 'alive')), 10_000)
  })

  it('rescues itself when it sees nobody any more and has no seeds', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(2)
    world.isolate('n1')
    world.until(() => n1!.sees('n2') === 'failed' && n2!.sees('n1') === 'failed', 30_000)
    expect(n1!.membership.table.reachableCount).toBe(1)
    world.run(60_000)
    world.cuts.clear()
    world.until(() => n1!.sees('n2') === 'alive' && n2!.sees('n1') === 'alive', 10_000)
  })

  it('forgets whom an operator removed: that boot stays away, a later one may come', () => {
    const world = new Machines()
    const [n1, n2, n3] = world.joined(3)
    n3!.stopped = true
    world.until(() => n1!.sees('n3') === 'failed', 15_000)
    n1!.step({ type: 'forget', nodeId: 'n3', boot: asBootNumber(1) })
    expect(n1!.effects.at(-1)).toMatchObject({ type: 'member_changed', nodeId: 'n3', after: null })
    world.run(5_000)
    expect(n2!.sees('n3'), 'n2 was not told').toBe('failed')
    expect(n1!.sees('n3'), 'gossip must not bring it back').toBe('unknown')
    world.start('n3', ['n1'], laterBoot('n3', 2))
    world.until(() => n1!.sees('n3') === 'alive', 2_000)
  })

  it('forgets the failed after a while, and does not learn of them again', () => {
    const world = new Machines({ forgetAfterMs: 120_000 })
    const [n1, n2, n3] = world.joined(3)
    n3!.stopped = true
    world.until(() => n1!.sees('n3') === 'failed', 15_000)
    world.run(100_000)
    expect(n1!.sees('n3')).toBe('failed')
    world.until(() => n1!.sees('n3') === 'unknown' && n2!.sees('n3') === 'unknown', 180_000)
    world.run(10_000)
    expect([n1!.sees('n3'), n2!.sees('n3')]).toEqual(['unknown', 'unknown'])
  })

  it('has room for so many members and says so when there are more', () => {
    const world = new Machines({ membersMax: 2 })
    const [n1] = world.joined(3)
    expect(n1!.membership.table.entries.size).toBe(2)
    expect(n1!.effects).toContainEqual(
      expect.objectContaining({ type: 'note', level: 'error', event: 'member.table_full' }),
    )
  })
})

describe('what others claim', () => {
  const tell = (to: Machine, over: Partial<MemberRecord>, status: Claim['status'] = 'alive'): void => {
    const record = recordOf(over.nodeId ?? 'n3', over)
    const claim: Claim = { record, status, from: 'liar', missedProbes: 0, verdictAtMs: wallStartMs }
    const message = { type: 'gossip', from: 'liar', digest: 0, claims: [claim] } as const
    to.step({ type: 'message', from: 'liar:1', message, via: 'datagram' })
  }

  it('of boots that the store has never seen is not believed', () => {
    const world = new Machines()
    const [n1, n2] = world.joined(3)
    world.isRegistered = ({ boot }) => boot === 1
    tell(n1!, { nodeId: 'ghost', boot: asBootNumber(2) })
    tell(n1!, { nodeId: 'n3', boot: asBootNumber(2), bootId: asBootId('n3#2') })
    expect(n1!.sees('ghost')).toBe('unknown')
    expect(n1!.membership.table.get('n3')?.record.boot).toBe(1)
    tell(n1!, { nodeId: 'n1', boot: asBootNumber(2), bootId: asBootId('n1#2') })
    expect(n1!.effects).not.toContainEqual(expect.objectContaining({ type: 'superseded' }))
    world.isRegistered = () => true
    tell(n1!, { nodeId: 'n1', boot: asBootNumber(2), bootId: asBootId('n1#2') })
    expect(n1!.effects).toContainEqual(expect.objectContaining({ type: 'superseded' }))
    world.run(1_000)
    expect(n2!.sees('ghost')).toBe('unknown')
  })

  it('of a boot under the number of another is not believed', () => {
    const world = new Machines()
    const [n1] = world.joined(3)
    tell(n1!, { bootId: asBootId('n3#other'), incarnation: asIncarnation(50), peerAddress: 'elsewhere:3' })
    expect(n1!.membership.table.get('n3')?.record).toMatchObject({ bootId: 'n3#1', peerAddress: 'n3:3' })
  })

  it.each([
    ['that it has left', {}, 'left'],
    ['that it stands still, as if it had said so itself', { stalled: true, incarnation: 40 }, 'alive'],
    [
      'that it drains, in the highest incarnation there can be',
      { lifecycle: 'draining', incarnation: 2 ** 40 - 1 },
      'alive',
    ],
  ] as const)('of a member (%s) is taken back by it', (_, over, status) => {
    const world = new Machines()
    const [n1, n2, n3] = world.joined(3)
    const truth = n3!.membership.self
    const incarnation = asIncarnation('incarnation' in over ? over.incarnation : truth.incarnation)
    tell(n1!, { ...truth, ...over, incarnation }, status)
    expect(n1!.membership.table.get('n3')).not.toMatchObject({ status: 'alive', record: truth })
    const isRight = (m: Machine): boolean => {
      const entry = m.membership.table.get('n3')
      return entry?.status === 'alive' && !entry.record.stalled && entry.record.lifecycle === truth.lifecycle
    }
    world.until(() => isRight(n1!) && isRight(n2!), 3_000)
  })

  it('in an incarnation that nobody could ever take back is not believed', () => {
    const world = new Machines()
    const [n1, , n3] = world.joined(3)
    tell(n1!, { ...n3!.membership.self, stalled: true, incarnation: asIncarnation(2 ** 53 - 1) })
    tell(n3!, { ...n3!.membership.self, incarnation: asIncarnation(2 ** 53 - 1) }, 'failed')
    expect(n1!.membership.table.get('n3')?.record.stalled).toBe(false)
    expect(n3!.membership.self.incarnation).toBeLessThan(100)
  })
})

describe('nodes of two builds', () => {
  it('tell each other what the other can read, and find one another well', () => {
    const world = new Machines()
    const newer = { facts: '{"sections":1}' }
    const [n1, n2, n3] = [
      world.start('n1', [], newer),
      world.start('n2', ['n1']),
      world.start('n3', ['n1'], newer),
    ]
    world.older.add('n2')
    const process = { cpuPct: 150, memoryMib: 90 }
    for (const m of [n1, n3])
      m.step({ type: 'telemetry', telemetry: { ...noTelemetry, cpuPct: 40, process } })
    world.run(60_000)
    expect(world.lostOnOlder).toBe(0)
    const figures = (m: Machine, of: string) => m.membership.table.get(of)?.telemetry
    expect(figures(n1, 'n3')).toMatchObject({ cpuPct: 40, process })
    expect(figures(n3, 'n1')).toMatchObject({ cpuPct: 40, process })
    expect(figures(n2, 'n1')).toMatchObject({ cpuPct: 40, process: null })
    for (const m of [n1, n2, n3])
      for (const id of ['n1', 'n2', 'n3']) expect(m.historyOf(id)).toEqual(['alive'])
  })

  it('ask a member that failed as if it came back as an older one', () => {
    const world = new Machines()
    const newer = { facts: '{"sections":1}' }
    const [n1, n2] = [world.start('n1', [], newer), world.start('n2', ['n1'], newer)]
    n1.step({ type: 'telemetry', telemetry: { ...noTelemetry, process: { cpuPct: 1, memoryMib: 1 } } })
    world.run(5_000)
    n2.stopped = true
    world.until(() => n1.sees('n2') === 'failed', 15_000)
    world.older.add('n2')
    world.run(30_000)
    expect(world.lostOnOlder).toBe(0)
  })
})
