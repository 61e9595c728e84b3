/**
 * Which calls an agent has carried out, per caller: a call that is sent again, after a move or a lost connection, gets the answer of
 * the first time and changes nothing. Travels and is saved with the state. Bounded by what callers have under way.
 */
import type { CallFrame } from './frames.js'

export interface Answer {
  readonly seq: number
  readonly isError: boolean
  /** The packed result, or the packed error. */
  readonly body: Uint8Array
}

interface Caller {
  last: number
  readonly answers: Map<number, Answer>
  usedAtMs: number
}

const callersMax = 1_000
const answersMax = 1_024
/** A caller that was silent for so long sends nothing again. */
const forgetAfterMs = 600_000

export type LedgerRow = readonly [
  caller: string,
  last: number,
  usedAtMs: number,
  answers: readonly (readonly [number, boolean, Uint8Array])[],
]

export class Ledger {
  private readonly callers = new Map<string, Caller>()

  /** `new`: carry it out. `gap`: one before it has not come yet. */
  check(frame: Pick<CallFrame, 'caller' | 'seq' | 'prev'>, enqueued: number): 'new' | 'gap' | 'done' {
    const last = this.callers.get(frame.caller)?.last ?? 0
    if (frame.seq <= last) return 'done'
    return frame.prev > Math.max(last, enqueued) ? 'gap' : 'new'
  }

  answer(caller: string, seq: number): Answer | undefined {
    return this.callers.get(caller)?.answers.get(seq)
  }

  record(frame: Pick<CallFrame, 'caller' | 'acked'>, answer: Answer, nowMs: number): void {
    let entry = this.callers.get(frame.caller)
    if (entry === undefined) {
      if (this.callers.size >= callersMax) this.forget(nowMs)
      entry = { last: 0, answers: new Map(), usedAtMs: nowMs }
    }
    // Least lately used first.
    this.callers.delete(frame.caller)
    this.callers.set(frame.caller, entry)
    entry.last = answer.seq
    entry.usedAtMs = nowMs
    entry.answers.set(answer.seq, answer)
    for (const seq of entry.answers.keys()) {
      if (seq > frame.acked && entry.answers.size <= answersMax) break
      entry.answers.delete(seq)
    }
  }

  rows(nowMs: number): LedgerRow[] {
    return [...this.callers]
      .filter(([, c]) => nowMs - c.usedAtMs < forgetAfterMs)
      .map(([name, c]) => [
        name,
        c.last,
        c.usedAtMs,
        [...c.answers.values()].map((a) => [a.seq, a.isError, a.body] as const),
      ])
  }

  load(rows: readonly LedgerRow[]): void {
    this.callers.clear()
    for (const [name, last, usedAtMs, answers] of rows)
      this.callers.set(name, {
        last,
        usedAtMs,
        answers: new Map(answers.map(([seq, isError, body]) => [seq, { seq, isError, body }])),
      })
  }

  private forget(nowMs: number): void {
    for (const [name, { usedAtMs }] of this.callers)
      if (nowMs - usedAtMs >= forgetAfterMs) this.callers.delete(name)
    for (const name of this.callers.keys()) {
      if (this.callers.size < callersMax) break
      this.callers.delete(name)
    }
  }
}
