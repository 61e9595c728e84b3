/**
 * What all machines of the core share: the reading of the clocks that comes with each input, and the notes that go out
 * beside effects. A machine is `step(at, input) → effects` plus `nextDeadlineMs()`; it owns no timer and does no I/O.
 */

/** One reading of both clocks, taken by the shell right before a step. */
export interface Instant {
  /** Monotonic, ms; the same origin for every thread of a host. Never stepped. */
  readonly nowMs: number
  /** Wall clock, ms since the Unix epoch. May be stepped at any moment. */
  readonly wallMs: number
}

/** Something worth a log line. `error` means that a person must act. */
export interface Note {
  readonly type: 'note'
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

export function note(
  level: Note['level'],
  event: string,
  fields: Readonly<Record<string, unknown>> = {},
): Note {
  return { type: 'note', level, event, fields }
}
