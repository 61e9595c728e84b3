/**
 * Lets through a few notes of each kind per second, and says with the next one how many it held back: what others cause, strangers above all,
 * must not fill the log.
 */

const perSecondMax = 5

type Fields = Readonly<Record<string, unknown>>

export class NoteLimiter {
  private readonly nowMs: () => number
  private readonly kinds = new Map<string, { sinceMs: number; count: number; heldBack: number }>()

  constructor(nowMs: () => number) {
    this.nowMs = nowMs
  }

  /** Calls `write` now or not at all. Kinds are constants of the program: there are only so many. */
  note(event: string, fields: Fields, write: (fields: Fields) => void): void {
    const nowMs = this.nowMs()
    let kind = this.kinds.get(event)
    if (kind === undefined) {
      kind = { sinceMs: nowMs, count: 0, heldBack: 0 }
      this.kinds.set(event, kind)
    }
    if (nowMs - kind.sinceMs > 1_000) {
      kind.sinceMs = nowMs
      kind.count = 0
    }
    if (++kind.count > perSecondMax) {
      kind.heldBack++
      return
    }
    write(kind.heldBack === 0 ? fields : { ...fields, held_back: kind.heldBack })
    kind.heldBack = 0
  }
}
