import { describe, expect, it } from 'vitest'
import {
  type ElectionEffect,
  type ElectionInput,
  LeaderElection,
  leaderKey,
  readLeader,
  type Standing,
} from '../../src/core/election/leader-election.js'
import { asLeaseId } from '../../src/core/kernel/brand.js'
import { registrationKey } from '../../src/core/kernel/registration.js'
import type { StoreReply, Transaction } from '../../src/core/kernel/store-types.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonEncode } from '../../src/core/kernel/text.js'

/** A few candidates around one store whose transactions are carried out when the test says so. */
class Town {
  nowMs = 1_000
  private rev = 0n
  private readonly shared = new StoreView()
  readonly candidates = new Map<string, Candidate>()

  constructor(...ids: string[]) {
    ids.forEach((id) => {
      this.candidates.set(id, new Candidate(this, id))
    })
    for (const id of ids) this.register(id)
  }

  get(id: string): Candidate {
    return this.candidates.get(id) as Candidate
  }

  register(id: string, role = 'worker'): void {
    this.put(registrationKey(id), { boot: Number(this.rev) + 1, role }, `lease-${id}`)
  }

  put(key: string, value: unknown, lease?: string): void {
    const rev = ++this.rev
    const kv = {
      key,
      value: jsonEncode(value),
      createRev: rev,
      modRev: rev,
      version: 1,
      lease: lease === undefined ? null : asLeaseId(lease),
    }
    for (const view of this.views()) view.apply({ rev, events: [{ type: 'put', kv }] })
  }

  /** The lease ends in the store and takes the registration with it. */
  endLease(id: string): void {
    const rev = ++this.rev
    for (const view of this.views())
      view.apply({ rev, events: [{ type: 'delete', key: registrationKey(id), modRev: rev }] })
    this.get(id).holdsLease = false
  }

  commit(txn: Transaction): StoreReply {
    const ok = (txn.if ?? []).every((c) =>
      c.target === 'modRev'
        ? this.shared.modRev(c.key) === c.value
        : c.target === 'lease' && (this.shared.kv(c.key)?.lease ?? null) === c.value,
    )
    for (const op of ok ? (txn.then ?? []) : [])
      if (op.type === 'put') this.put(op.key, JSON.parse(Buffer.from(op.value).toString()))
    return { ok: true, op: 'txn', result: { ok, rev: this.rev, results: [] } }
  }

  get leader() {
    return readLeader(this.shared)
  }

  private views(): StoreView[] {
    const all = [this.shared, ...[...this.candidates.values()].map((c) => c.view)]
    for (const view of all) view.synced = true
    return all
  }
}

class Candidate {
  readonly view = new StoreView()
  readonly standings = new Map<string, Standing>()
  readonly goneSince = new Map<string, number>()
  holdsLease = true
  isRelieved = false
  effects: readonly ElectionEffect[] = []
  readonly machine: LeaderElection
  private readonly town: Town

  constructor(town: Town, id: string) {
    this.town = town
    this.machine = new LeaderElection({
      view: this.view,
      nodeId: id,
      lease: () => (this.holdsLease ? asLeaseId(`lease-${id}`) : null),
      standing: (other) => this.standings.get(other) ?? 'well',
      isRelieved: () => this.isRelieved,
      goneSinceMs: (other) => this.goneSince.get(other),
    })
  }

  step(input: ElectionInput, atMs = this.town.nowMs): this {
    this.town.nowMs = atMs
    this.effects = this.machine.step({ nowMs: atMs, wallMs: atMs }, input)
    return this
  }

  /** The transaction that this candidate asked for in its last step, if any. */
  get asked(): Transaction | undefined {
    const effect = this.effects.find((e) => e.type === 'store')
    return effect?.request.op === 'txn' ? effect.request.txn : undefined
  }

  /** Carries out what was asked. */
  settle(): this {
    if (this.asked === undefined) return this
    return this.step({ type: 'store_done', tag: 'leader.take', reply: this.town.commit(this.asked) })
  }

  seesGone(id: string, atMs: number): this {
    this.standings.set(id, 'gone')
    this.goneSince.set(id, atMs)
    return this.step({ type: 'changed' }, atMs)
  }

  get leads(): boolean {
    return this.machine.guard(this.town.nowMs) !== null
  }
}

/** n1 leads in term 1, and everybody has seen it. */
function settled(): Town {
  const town = new Town('n1', 'n2', 'n3')
  town.get('n1').step({ type: 'changed' }).settle()
  for (const c of town.candidates.values()) c.step({ type: 'changed' })
  return town
}

describe('leader election', () => {
  it('lets the oldest boot try at once and the others wait their turn', () => {
    const town = new Town('n1', 'n2', 'n3')
    expect(town.get('n2').step({ type: 'changed' }).asked).toBeUndefined()
    expect(town.get('n2').machine.nextDeadlineMs()).toBe(1_060)
    expect(town.get('n3').step({ type: 'changed' }).machine.nextDeadlineMs()).toBe(1_120)
    expect(town.get('n1').step({ type: 'changed' }).asked).toBeDefined()
  })

  it('has one winner when all of them try at the same moment', () => {
    const town = new Town('n1', 'n2', 'n3')
    const all = [...town.candidates.values()]
    for (const c of all) c.step({ type: 'changed' })
    for (const c of all) if (c.asked === undefined) c.step({ type: 'deadline' }, 1_200)
    expect(all.filter((c) => c.asked !== undefined)).toHaveLength(3)
    for (const c of all.reverse()) c.settle()
    expect(all.filter((c) => c.leads)).toHaveLength(1)
    expect(town.leader).toMatchObject({ term: 1, nodeId: 'n3', lease: 'lease-n3' })
  })

  it('raises the term when the lease of the leader ended, and fences the old one', () => {
    const town = settled()
    const old = town.get('n1').machine.guard(town.nowMs)
    town.endLease('n1')
    town.get('n2').step({ type: 'changed' }, 2_000).settle()
    expect(town.leader).toMatchObject({ term: 2, nodeId: 'n2' })
    const write: Transaction = { if: [old!.compare], then: [{ type: 'put', key: 'x', value: jsonEncode(1) }] }
    expect(town.commit(write)).toMatchObject({ result: { ok: false } })
    expect(town.get('n1').leads).toBe(false)
  })

  it('takes over from a leader that looks gone, before its lease ends', () => {
    const town = settled()
    town.get('n2').seesGone('n1', 5_000).settle()
    expect(town.leader).toMatchObject({ term: 2, nodeId: 'n2' })
    expect(town.get('n1').step({ type: 'changed' }).leads).toBe(false)
  })

  it('does not take over on evidence from before the leader took the seat', () => {
    const town = settled()
    const n2 = town.get('n2')
    n2.goneSince.set('n1', 900)
    n2.standings.set('n1', 'gone')
    expect(n2.step({ type: 'changed' }, 5_000).asked).toBeUndefined()
    n2.goneSince.set('n1', 5_001)
    expect(n2.step({ type: 'changed' }, 5_001).asked).toBeDefined()
  })

  it('lets nobody campaign who reaches less than half of the lease holders', () => {
    const town = settled()
    const n2 = town.get('n2')
    n2.standings.set('n3', 'gone')
    expect(n2.seesGone('n1', 5_000).asked).toBeUndefined()
    n2.standings.delete('n3')
    expect(n2.step({ type: 'changed' }).asked).toBeDefined()
  })

  it.each(['doubtful', 'unfit'] as const)('lets nobody campaign who is %s itself', (standing) => {
    const town = settled()
    const n2 = town.get('n2')
    n2.standings.set('n2', standing)
    expect(n2.seesGone('n1', 5_000).asked).toBeUndefined()
  })

  it('makes a leader resign that stays isolated, and not one that is so for a moment', () => {
    const town = settled()
    const n1 = town.get('n1')
    n1.seesGone('n2', 5_000).seesGone('n3', 5_000)
    expect(n1.machine.nextDeadlineMs()).toBe(7_000)
    n1.standings.clear()
    expect(n1.step({ type: 'changed' }, 6_000).machine.nextDeadlineMs()).toBe(Number.POSITIVE_INFINITY)
    n1.seesGone('n2', 8_000).seesGone('n3', 8_000)
    n1.step({ type: 'deadline' }, 10_000).settle()
    expect(town.leader).toMatchObject({ term: 1, nodeId: null, lease: null })
    expect(n1.leads).toBe(false)
  })

  it('leaves the others first choice for a while after stepping down', () => {
    const town = settled()
    const n1 = town.get('n1')
    n1.step({ type: 'step_down', reason: 'asked to' }, 5_000).settle()
    expect(town.leader).toMatchObject({ term: 1, nodeId: null })
    expect(n1.step({ type: 'changed' }, 7_999).asked).toBeUndefined()
    expect(n1.step({ type: 'deadline' }, 8_000).asked).toBeDefined()
    town.get('n2').step({ type: 'changed' }, 8_000).settle()
    n1.settle()
    expect(town.leader).toMatchObject({ term: 2, nodeId: 'n2' })
  })

  it('lets nobody wait for the one that stepped down, though it is the oldest', () => {
    const town = settled()
    town.get('n1').step({ type: 'step_down', reason: 'asked to' }, 5_000).settle()
    expect(town.get('n2').step({ type: 'changed' }).asked).toBeDefined()
    expect(town.get('n3').step({ type: 'changed' }).machine.nextDeadlineMs()).toBe(5_060)
  })

  it('waits its turn after the resignation of an older build, which does not say who resigned', () => {
    const town = settled()
    town.put(leaderKey, { v: 1, term: 1, node_id: null, lease: null, reason: 'asked to' })
    town.get('n2').step({ type: 'changed' }, 5_000)
    expect(town.get('n2').asked).toBeUndefined()
    expect(town.get('n2').machine.nextDeadlineMs()).toBe(5_060)
  })

  it('gives the lead up once it is relieved, and asks again when the store did not answer', () => {
    const town = settled()
    const n1 = town.get('n1')
    n1.isRelieved = true
    expect(n1.step({ type: 'changed' }, 5_000).asked).toBeDefined()
    expect(n1.step({ type: 'changed' }, 5_001).asked).toBeUndefined()
    n1.step({
      type: 'store_done',
      tag: 'leader.resign',
      reply: { ok: false, code: 'store_unavailable', detail: 'away', retryable: true } as never,
    })
    expect(n1.step({ type: 'deadline' }, 5_100).settle().leads).toBe(false)
    expect(town.leader).toMatchObject({ term: 1, nodeId: null })
    town.get('n2').step({ type: 'changed' }).settle()
    expect(town.leader).toMatchObject({ term: 2, nodeId: 'n2' })
  })

  it('lets workers try before standbys, whoever is older', () => {
    const town = settled()
    town.register('n2', 'standby')
    town.register('n3')
    for (const id of ['n2', 'n3']) town.get(id).seesGone('n1', 6_000)
    expect(town.get('n2').asked).toBeUndefined()
    expect(town.get('n3').asked).toBeDefined()
  })

  it('is not a leader without a valid lease, even while the key names it', () => {
    const town = settled()
    const n1 = town.get('n1')
    expect(n1.leads).toBe(true)
    n1.holdsLease = false
    expect(n1.leads).toBe(false)
    expect(n1.step({ type: 'changed' }, 9_000).asked).toBeUndefined()
  })

  it('promotes whom the operator names, over a leader that is well', () => {
    const town = settled()
    const n3 = town.get('n3').step({ type: 'promote' }).settle()
    expect(n3.effects).toContainEqual({ type: 'promoted', ok: true, detail: '' })
    expect(town.leader).toMatchObject({ term: 2, nodeId: 'n3' })
    expect(n3.step({ type: 'promote' }).effects).toContainEqual({
      type: 'promoted',
      ok: true,
      detail: 'it leads already',
    })
  })

  it('tells the operator why a promotion did not happen', () => {
    const town = settled()
    const n3 = town.get('n3')
    n3.step({ type: 'promote' })
    town.get('n2').step({ type: 'promote' }).settle()
    expect(n3.settle().effects).toContainEqual({
      type: 'promoted',
      ok: false,
      detail: 'another node was faster',
    })
    n3.holdsLease = false
    expect(n3.step({ type: 'promote' }).effects).toContainEqual({
      type: 'promoted',
      ok: false,
      detail: 'this node holds no lease',
    })
  })

  it('waits for its view to catch up with its own write before it campaigns again', () => {
    const town = new Town('n1', 'n2')
    const n1 = town.get('n1').step({ type: 'changed' })
    n1.step({
      type: 'store_done',
      tag: 'leader.take',
      reply: { ok: true, op: 'txn', result: { ok: true, rev: 99n, results: [] } },
    })
    expect(n1.step({ type: 'changed' }, 2_000).asked).toBeUndefined()
    expect(n1.view.modRev(leaderKey)).toBe(0n)
  })
})
