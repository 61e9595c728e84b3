/** Lets through a few notes of each kind per second, and says how many it held back: strangers must not fill the log. */
import { performance } from 'node:perf_hooks'

const perSecondMax = 5

export class NoteLimiter {
  private readonly onNote: ((event: string, fields: Record<string, unknown>) => void) | undefined
  private readonly kinds = new Map<string, { sinceMs: number; count: number; heldBack: number }>()

  constructor(onNote: ((event: string, fields: Record<string, unknown>) => void) | undefined) {
    this.onNote = onNote
  }

  note(event: string, fields: Record<string, unknown>): void {
    const nowMs = performance.now()
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
    this.onNote?.(event, kind.heldBack === 0 ? fields : { ...fields, held_back: kind.heldBack })
    kind.heldBack = 0
  }
}
