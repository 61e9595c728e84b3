/** Another cluster, as a place to send events to. */

export interface MirroredEvent {
  readonly stream: string
  readonly key: string
  readonly id: string
  readonly type: string
  readonly payload: unknown
}

/** `retry`: not now. `refused`: never, with the reason. */
export type MirrorOutcome =
  | { readonly status: 'stored' | 'duplicate' | 'retry' }
  | { readonly status: 'refused'; readonly detail: string }

export interface MirrorTarget {
  /** For messages and metrics; no secrets. */
  readonly name: string
  /** One outcome per event, in order. Rejects when nothing is known of any: the same events may be sent again, their ids make it safe. */
  send(events: readonly MirroredEvent[], signal: AbortSignal): Promise<readonly MirrorOutcome[]>
}
