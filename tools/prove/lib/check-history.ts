/**
 * Decides whether a recorded history keeps the promises. It knows nothing but the records: what clients sent and were answered,
 * what each node said of leader, term and shard map, which faults there were, and what was read back at the end.
 *
 * The idea: only what must hold under every order of events that the recorded times allow is judged. An attempt without an
 * acknowledgement may have been stored or not. Where two things are compared in time, one had ended before the other began.
 *
 * Times: ms of one monotonic clock for all. Must not live here: how a history is made.
 */
import type { FaultRecord, HistoryRecord, MapRecord, OpRecord, StatusRecord } from './history.js'

export type Rule =
  | 'history-incomplete'
  | 'acknowledged-lost'
  | 'acknowledged-elsewhere'
  | 'stored-twice'
  | 'never-sent'
  | 'duplicate-offset'
  | 'epoch-falls'
  | 'epoch-repeated'
  | 'stale-epoch-accepted'
  | 'key-reordered'
  | 'two-leaders-in-a-term'
  | 'two-owners-in-an-epoch'
  | 'reads-differ'
  | 'minority-acknowledged'
  | 'minority-changed-state'
  | 'not-back-in-time'
  | 'node-ended'

export interface Violation {
  readonly rule: Rule
  readonly detail: string
}

export interface Verdict {
  readonly violations: readonly Violation[]
  readonly figures: {
    readonly acknowledged: number
    readonly attempts: Readonly<Record<string, number>>
    readonly stored: number
    readonly terms: number
    readonly samples: number
    /** Time without an acknowledgement at any node, ms. */
    readonly longestGapMs: number
    /** Of each fault: the last node was back so long after the heal. */
    readonly back: readonly { readonly fault: string; readonly ms: number; readonly node: string }[]
  }
}

interface Stored {
  readonly id: string
  readonly key: string
  readonly shard: number
  readonly offset: number
  readonly epoch: number
}

/** What was on its way when a minority was cut off may still arrive at its nodes' views within this time. */
const settleMs = 1_000

export function checkHistory(records: readonly HistoryRecord[]): Verdict {
  return new Checker(records).verdict()
}

class Checker {
  private readonly violations: Violation[] = []
  private readonly nodes: readonly string[]
  private readonly ttlMs: number
  private readonly backMsMax: number
  private readonly ops: readonly OpRecord[]
  private readonly statuses: readonly StatusRecord[]
  private readonly maps: readonly MapRecord[]
  private readonly faults: readonly FaultRecord[]
  private readonly others: readonly HistoryRecord[]
  /** Attempts of each id, by time. */
  private readonly attempts = new Map<string, OpRecord[]>()
  private stored = new Map<string, Stored>()

  constructor(records: readonly HistoryRecord[]) {
    const of = <K extends HistoryRecord['k']>(k: K) =>
      records.filter((r): r is Extract<HistoryRecord, { k: K }> => r.k === k)
    const meta = of('meta')[0]
    this.nodes = meta?.nodes ?? []
    this.ttlMs = meta?.ttlMs ?? 0
    this.backMsMax = meta?.backMsMax ?? 0
    this.ops = of('op').sort((a, b) => a.t0 - b.t0)
    this.statuses = of('status').sort((a, b) => a.t1 - b.t1)
    this.maps = of('map').sort((a, b) => a.t1 - b.t1)
    this.faults = of('fault').sort((a, b) => a.t0 - b.t0)
    this.others = records
    for (const op of this.ops) {
      const list = this.attempts.get(op.id)
      if (list === undefined) this.attempts.set(op.id, [op])
      else list.push(op)
    }
  }

  verdict(): Verdict {
    const acknowledged = this.ops.filter(isAcknowledged)
    if (this.nodes.length === 0 || acknowledged.length === 0)
      this.fail('history-incomplete', 'no nodes, or nothing acknowledged: this proves nothing')
    this.readBack()
    this.acknowledgements(acknowledged)
    this.offsetsAndEpochs()
    this.staleEpochs()
    this.orderOfKeys()
    const terms = this.leaders()
    this.owners()
    this.restarts()
    this.minorities(acknowledged)
    const back = this.returns()
    for (const r of this.others) {
      if (r.k === 'exit') this.fail('node-ended', `${r.n} ended by itself: ${r.how}`)
      if (r.k === 'done' && r.error !== undefined)
        this.fail('history-incomplete', `${r.command} at ${r.n}: ${r.error}`)
    }
    const attempts: Record<string, number> = {}
    for (const op of this.ops) {
      const what = op.code === undefined ? op.out : `${op.out} ${op.code}`
      attempts[what] = (attempts[what] ?? 0) + 1
    }
    return {
      violations: this.violations,
      figures: {
        acknowledged: new Set(acknowledged.map((op) => op.id)).size,
        attempts,
        stored: this.stored.size,
        terms,
        samples: this.statuses.length + this.maps.length,
        longestGapMs: longestGap(acknowledged.map((op) => op.t1)),
        back,
      },
    }
  }

  private fail(rule: Rule, detail: string): void {
    this.violations.push({ rule, detail })
  }

  /** Every node reads the same, and nothing twice. */
  private readBack(): void {
    const reads = new Map<string, Stored[]>()
    for (const r of this.others) {
      if (r.k !== 'read') continue
      const before = r.page === 0 ? [] : (reads.get(r.n) ?? [])
      const page = r.events.map(([id, key, shard, offset, epoch]) => ({ id, key, shard, offset, epoch }))
      reads.set(r.n, [...before, ...page])
    }
    let first: string | undefined
    for (const node of this.nodes) {
      const list = reads.get(node)
      if (list === undefined || list.length === 0) {
        this.fail('history-incomplete', `${node} read nothing back`)
        continue
      }
      const seen = new Map<string, Stored>()
      for (const e of list) {
        const twin = seen.get(e.id)
        if (twin !== undefined)
          this.fail('stored-twice', `${node} reads ${e.id} at ${place(twin)} and at ${place(e)}`)
        seen.set(e.id, e)
      }
      if (first === undefined) {
        first = node
        this.stored = seen
        this.offsets(list)
      } else this.compare(first, node, seen)
    }
  }

  /** What nobody acknowledged may be stored while the nodes are read one after the other. */
  private compare(first: string, node: string, seen: ReadonlyMap<string, Stored>): void {
    for (const id of new Set([...this.stored.keys(), ...seen.keys()])) {
      const [a, b] = [this.stored.get(id), seen.get(id)]
      const isSame =
        a === undefined || b === undefined
          ? !this.attempts.get(id)?.some(isAcknowledged)
          : place(a) === place(b) && a.epoch === b.epoch
      if (!isSame)
        this.fail(
          'reads-differ',
          `${id}: ${first} reads it ${a ? `at ${place(a)}` : 'nowhere'}, ${node} ${b ? `at ${place(b)}` : 'nowhere'}`,
        )
    }
  }

  private offsets(list: readonly Stored[]): void {
    const taken = new Map<string, string>()
    for (const e of list) {
      const other = taken.get(place(e))
      if (other !== undefined && other !== e.id)
        this.fail('duplicate-offset', `${place(e)} holds ${other} and ${e.id}`)
      taken.set(place(e), e.id)
      if (!this.attempts.has(e.id)) this.fail('never-sent', `${e.id} is stored at ${place(e)}`)
    }
  }

  private acknowledgements(acknowledged: readonly OpRecord[]): void {
    for (const op of acknowledged) {
      const e = this.stored.get(op.id)
      if (e === undefined)
        this.fail('acknowledged-lost', `${op.id}, ${op.out} by ${op.n} at ${op.t1.toFixed(0)}`)
      else if (e.shard !== op.shard || e.offset !== op.offset)
        this.fail(
          'acknowledged-elsewhere',
          `${op.id}: ${op.n} said shard ${op.shard} offset ${op.offset}, stored at ${place(e)}`,
        )
    }
  }

  /** Along the offsets of a shard the epochs never fall: nothing was appended behind a successor's back. */
  private offsetsAndEpochs(): void {
    for (const list of groupBy(this.stored.values(), (e) => e.shard).values()) {
      list.sort((a, b) => a.offset - b.offset)
      for (let i = 1; i < list.length; i++) {
        const [a, b] = [list[i - 1] as Stored, list[i] as Stored]
        if (b.epoch < a.epoch)
          this.fail('epoch-falls', `${place(b)} has epoch ${b.epoch} after ${a.epoch} at offset ${a.offset}`)
      }
    }
  }

  /** A shard's epoch was seen in the map; what was first sent after that is not stored under a lower one. */
  private staleEpochs(): void {
    const seen: { t: number; epoch: number }[][] = []
    for (const map of this.maps)
      map.epochs.forEach((epoch, shard) => {
        seen[shard] ??= []
        const list = seen[shard]
        if (epoch > (list.at(-1)?.epoch ?? -1)) list.push({ t: map.t1, epoch })
      })
    for (const e of this.stored.values()) {
      const sentAt = this.attempts.get(e.id)?.[0]?.t0 ?? Number.NEGATIVE_INFINITY
      const newer = seen[e.shard]?.find(({ t, epoch }) => t < sentAt && epoch > e.epoch)
      if (newer !== undefined)
        this.fail(
          'stale-epoch-accepted',
          `${e.id} is stored under epoch ${e.epoch} of shard ${e.shard}; epoch ${newer.epoch} had been seen ${(sentAt - newer.t).toFixed(0)} ms before it was sent`,
        )
    }
  }

  /** Acknowledged before the other was first sent: the lower offset. */
  private orderOfKeys(): void {
    for (const list of groupBy(this.stored.values(), (e) => e.key).values()) {
      const acknowledgedAt = list
        .flatMap((e) => {
          const ack = this.attempts.get(e.id)?.find(isAcknowledged)
          return ack === undefined ? [] : [{ e, t: ack.t1 }]
        })
        .sort((a, b) => a.t - b.t)
      const sent = list
        .map((e) => ({ e, t: this.attempts.get(e.id)?.[0]?.t0 ?? 0 }))
        .sort((a, b) => a.t - b.t)
      let next = 0
      let highest: Stored | undefined
      for (const { e, t } of sent) {
        for (; (acknowledgedAt[next]?.t ?? Number.POSITIVE_INFINITY) < t; next++) {
          const earlier = acknowledgedAt[next]?.e as Stored
          if (highest === undefined || earlier.offset > highest.offset) highest = earlier
        }
        if (highest !== undefined && highest.offset > e.offset)
          this.fail(
            'key-reordered',
            `${e.key}: ${e.id} at offset ${e.offset} was sent after ${highest.id} at ${highest.offset} was acknowledged`,
          )
      }
    }
  }

  /** Returns how many terms were seen. */
  private leaders(): number {
    const leaderOf = new Map<number, string>()
    const claim = (term: number | undefined, leader: string | null | undefined, by: string) => {
      if (term === undefined || leader == null) return
      const other = leaderOf.get(term)
      if (other === undefined) leaderOf.set(term, leader)
      else if (other !== leader)
        this.fail('two-leaders-in-a-term', `term ${term}: ${other}, and ${leader} as ${by} says`)
    }
    for (const s of this.statuses) {
      claim(s.term, s.leader, s.n)
      if (s.isLeader === true) claim(s.term, s.n, s.n)
    }
    for (const r of this.others) if (r.k === 'elected') claim(r.term, r.leader, r.n)
    return leaderOf.size
  }

  private owners(): void {
    const ownerOf = new Map<string, string>()
    for (const map of this.maps)
      map.owners.forEach((owner, shard) => {
        const tenure = `shard ${shard} epoch ${map.epochs[shard]}`
        const other = ownerOf.get(tenure)
        if (owner === null) return
        if (other === undefined) ownerOf.set(tenure, owner)
        else if (other !== owner)
          this.fail('two-owners-in-an-epoch', `${tenure}: ${other}, and ${owner} as ${map.n} says`)
      })
  }

  /** Whoever owned a shard is dead; what is sent after that is stored under an epoch that nobody had. */
  private restarts(): void {
    for (const restart of this.others) {
      if (restart.k !== 'restart') continue
      const before: number[] = []
      for (const map of this.maps)
        if (map.t1 < restart.t1)
          map.epochs.forEach((epoch, shard) => {
            before[shard] = Math.max(before[shard] ?? -1, epoch)
          })
      for (const e of this.stored.values()) {
        const highest = before[e.shard] ?? -1
        if ((this.attempts.get(e.id)?.[0]?.t0 ?? 0) > restart.t1 && e.epoch <= highest)
          this.fail(
            'epoch-repeated',
            `${e.id}, sent after the restart, has epoch ${e.epoch} of shard ${e.shard}, which had ${highest} before`,
          )
      }
    }
  }

  /** One lease time after the cut a minority acknowledges nothing, and no term or epoch comes from it. */
  private minorities(acknowledged: readonly OpRecord[]): void {
    for (const fault of this.faults) {
      const isCutOff = (r: { n: string; t0: number; t1: number }, afterMs: number) =>
        fault.minority.includes(r.n) && r.t0 > fault.t0 + afterMs && r.t1 < fault.t1
      for (const op of acknowledged)
        if (isCutOff(op, this.ttlMs))
          this.fail(
            'minority-acknowledged',
            `${fault.name}: ${op.n} acknowledged ${op.id} ${(op.t0 - fault.t0).toFixed(0)} ms after the cut`,
          )
      let term = -1
      for (const s of this.statuses) {
        if (s.term === undefined) continue
        if (isCutOff(s, settleMs) && s.term > term)
          this.fail('minority-changed-state', `${fault.name}: ${s.n} has term ${s.term}, others ${term}`)
        if (!fault.minority.includes(s.n) || s.t1 < fault.t0 + settleMs) term = Math.max(term, s.term)
      }
      const epochs: number[] = []
      for (const map of this.maps)
        map.epochs.forEach((epoch, shard) => {
          const known = epochs[shard] ?? -1
          if (isCutOff(map, settleMs) && epoch > known)
            this.fail(
              'minority-changed-state',
              `${fault.name}: ${map.n} has epoch ${epoch} for shard ${shard}, others ${known}`,
            )
          if (!fault.minority.includes(map.n) || map.t1 < fault.t0 + settleMs)
            epochs[shard] = Math.max(known, epoch)
        })
    }
  }

  /** After the heal, and until the next fault: from when on each node had its lease, a leader, all its peers, and acknowledged. */
  private returns(): { fault: string; ms: number; node: string }[] {
    return this.faults.map((fault, i) => {
      const untilMs = this.faults[i + 1]?.began ?? Number.POSITIVE_INFINITY
      let last = { fault: fault.name, ms: 0, node: '' }
      for (const node of this.nodes) {
        const after = this.statuses.filter((s) => s.n === node && s.t0 >= fault.t2 && s.t1 < untilMs)
        const lastBad = after.findLastIndex((s) => !this.isWell(s))
        const well = after[lastBad + 1]?.t1 ?? Number.POSITIVE_INFINITY
        const ack = this.ops.find((op) => op.n === node && op.t0 >= fault.t2 && isAcknowledged(op))
        const ms = Math.max(well, ack?.t1 ?? Number.POSITIVE_INFINITY) - fault.t2
        if (ms > last.ms) last = { fault: fault.name, ms, node }
        if (ms > this.backMsMax)
          this.fail(
            'not-back-in-time',
            `${fault.name}: ${node} ${Number.isFinite(ms) ? `was back ${ms.toFixed(0)} ms after the heal` : 'did not come back'}, at most ${this.backMsMax}`,
          )
      }
      return last
    })
  }

  private isWell(s: StatusRecord): boolean {
    return (
      s.isUp &&
      s.quorum === true &&
      s.leader != null &&
      (s.leaseMs ?? 0) > 0 &&
      s.healthy === this.nodes.length - 1
    )
  }
}

function isAcknowledged(op: OpRecord): boolean {
  return op.out === 'accepted' || op.out === 'duplicate'
}

function place(e: Stored): string {
  return `shard ${e.shard} offset ${e.offset}`
}

function groupBy<T, K>(items: Iterable<T>, keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [item])
    else group.push(item)
  }
  return groups
}

function longestGap(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b)
  return sorted.reduce((longest, t, i) => (i === 0 ? 0 : Math.max(longest, t - (sorted[i - 1] as number))), 0)
}
