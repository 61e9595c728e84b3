/**
 * One node catches up with another: sums of buckets are compared, of those that differ the marks of what is in them, and what differs is sent, large
 * entries in pieces. Pure: `next` says what to ask, `receive` takes the answer. A pull may end at any point, for whatever reason; what came is kept, and
 * the next one, from any node, goes on with what still differs, a large entry where it broke off.
 *
 * A pull that ran through without refusing anything makes us know all that the other had seen when it began.
 */
import { siblingsMax } from './limits.js'
import { type Change, knows, type Refusal, type Replica } from './replica.js'
import {
  type BucketsAsk,
  bucketsAskWire,
  digestWire,
  readBucketsAnswer,
  readChunk,
  readDigestAnswer,
  type Seen,
  type SlotMark,
} from './wire.js'

/** Of one question. */
const marksPerAsk = 4_000
const partialsMax = 4

export type AskKind = 'digest' | 'buckets' | 'chunk'

export interface Ask {
  readonly kind: AskKind
  readonly body: unknown
}

export interface Pulled {
  readonly changes: readonly Change[]
  readonly refusals: readonly Refusal[]
}

/** Large entries of which the beginning is here; outlives the pull that began it. */
export interface Partial {
  readonly sum: string
  readonly length: number
  readonly bytes: Uint8Array
  got: number
}

export class Pull {
  private readonly replica: Replica
  private readonly from: string
  private readonly valueBytesMax: number
  private readonly partials: Map<string, Partial>
  private asked: Ask | undefined
  private theirs: Seen | undefined
  private buckets: number[] = []
  private batch: { buckets: readonly number[]; after: readonly [number, string] } | undefined
  private readonly large: (readonly [map: string, key: string])[] = []
  private wasRefused = false
  private adopted = false

  constructor(replica: Replica, from: string, valueBytesMax: number, partials: Map<string, Partial>) {
    this.replica = replica
    this.from = from
    this.valueBytesMax = valueBytesMax
    this.partials = partials
  }

  /** It ran through, and nothing was refused. */
  get isComplete(): boolean {
    return this.adopted
  }

  /** Undefined when there is nothing left to ask. */
  next(): Ask | undefined {
    this.asked = this.ask()
    return this.asked
  }

  private ask(): Ask | undefined {
    if (this.theirs === undefined) return { kind: 'digest', body: digestWire(this.replica.digest()) }
    const place = this.large[0]
    if (place !== undefined) {
      const partial = this.partials.get(place.join('\n'))
      return { kind: 'chunk', body: [...place, partial?.sum ?? '', partial?.got ?? 0] }
    }
    if (this.batch === undefined && this.buckets.length > 0) this.batch = this.nextBatch()
    return this.batch === undefined ? undefined : { kind: 'buckets', body: bucketsAskWire(this.bucketsAsk()) }
  }

  private nextBatch(): { buckets: readonly number[]; after: readonly [number, string] } {
    const buckets: number[] = []
    let marks = 0
    while (this.buckets.length > 0 && marks < marksPerAsk) {
      const bucket = this.buckets.shift() as number
      buckets.push(bucket)
      marks += this.replica.slots.marksOf(bucket).length
    }
    return { buckets, after: [0, ''] }
  }

  private bucketsAsk(): BucketsAsk {
    const { buckets, after } = this.batch as NonNullable<typeof this.batch>
    // What is done is done: marks of those buckets are not looked at.
    const none: SlotMark[] = []
    return {
      buckets,
      after,
      marks: buckets.map((b, i) => (i < after[0] ? none : this.replica.slots.marksOf(b))),
    }
  }

  /** Undefined when the answer is none: the pull is over. */
  receive(wallMs: number, answer: unknown): Pulled | undefined {
    const { asked } = this
    this.asked = undefined
    if (asked === undefined) return undefined
    const pulled =
      asked.kind === 'digest'
        ? this.receiveDigest(answer)
        : asked.kind === 'buckets'
          ? this.receiveBuckets(wallMs, answer)
          : this.receiveChunk(wallMs, answer)
    if (pulled === undefined) return undefined
    if (pulled.refusals.length > 0) this.wasRefused = true
    const isDone = this.batch === undefined && this.buckets.length === 0 && this.large.length === 0
    if (isDone && !this.wasRefused && !this.adopted) {
      this.replica.adopt(wallMs, this.theirs as Seen)
      this.adopted = true
    }
    return pulled
  }

  private receiveDigest(answer: unknown): Pulled | undefined {
    const digest = readDigestAnswer(answer)
    if (digest === undefined) return undefined
    this.theirs = { actors: digest.actors, retired: digest.retired, own: digest.own }
    this.replica.hear(this.from, this.theirs)
    this.buckets = [...new Set(digest.differing)]
    return { changes: [], refusals: [] }
  }

  private receiveBuckets(wallMs: number, answer: unknown): Pulled | undefined {
    const { batch, replica } = this
    const page = readBucketsAnswer(answer, { valueBytesMax: this.valueBytesMax })
    if (page === undefined || batch === undefined || !isAhead(page.next, batch.after)) return undefined
    const changes: Change[] = []
    const refusals: Refusal[] = []
    for (const [map, key, entry] of page.entries)
      this.sort(replica.take(wallMs, map, key, entry, this.known), changes, refusals)
    for (const keyHash of page.absent) {
      const slot = replica.slots.byHash(keyHash)
      if (slot !== undefined) this.sort(replica.absent(slot.map, slot.key, this.known), changes, refusals)
    }
    this.large.push(...page.large)
    this.batch = page.next === null ? undefined : { buckets: batch.buckets, after: page.next }
    return { changes, refusals }
  }

  private receiveChunk(wallMs: number, answer: unknown): Pulled | undefined {
    const place = this.large[0] as readonly [string, string]
    const id = place.join('\n')
    const chunk = readChunk(answer, 3 * siblingsMax * this.valueBytesMax)
    if (chunk === undefined) return undefined
    const changes: Change[] = []
    const refusals: Refusal[] = []
    if (chunk === null) {
      this.partials.delete(id)
      this.large.shift()
      return { changes, refusals }
    }
    let partial = this.partials.get(id)
    if (partial?.sum !== chunk.sum || partial.length !== chunk.length || chunk.offset === 0)
      partial = { sum: chunk.sum, length: chunk.length, bytes: new Uint8Array(chunk.length), got: 0 }
    if (chunk.offset !== partial.got || (chunk.bytes.length === 0 && chunk.length > 0)) return undefined
    partial.bytes.set(chunk.bytes, chunk.offset)
    partial.got += chunk.bytes.length
    this.keep(id, partial)
    if (partial.got < partial.length) return { changes, refusals }
    this.partials.delete(id)
    this.large.shift()
    const entry = this.replica.decode(partial.bytes, partial.sum)
    if (entry === undefined) return undefined
    this.sort(this.replica.take(wallMs, place[0], place[1], entry, this.known), changes, refusals)
    return { changes, refusals }
  }

  private keep(id: string, partial: Partial): void {
    this.partials.delete(id)
    this.partials.set(id, partial)
    for (const eldest of this.partials.keys()) {
      if (this.partials.size <= partialsMax) break
      this.partials.delete(eldest)
    }
  }

  private readonly known = (actor: string, seq: number): boolean =>
    this.theirs !== undefined && knows(this.theirs, actor, seq)

  private sort(outcome: Change | Refusal | undefined, changes: Change[], refusals: Refusal[]): void {
    if (outcome === undefined) return
    if ('code' in outcome) refusals.push(outcome)
    else changes.push(outcome)
  }
}

/** A page that does not get on would be asked for for ever. */
function isAhead(next: readonly [number, string] | null, after: readonly [number, string]): boolean {
  return next === null || next[0] > after[0] || (next[0] === after[0] && next[1] > after[1])
}
