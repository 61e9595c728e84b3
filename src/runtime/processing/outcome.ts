/** How a run ended, as its node knows it and as it travels. */
import { type ErrorCode, SkeinError } from '../../core/kernel/error.js'
import { pack } from '../mesh-frames.js'
import type { DownReason } from './api-types.js'

export type Outcome =
  /** Packed; null for who did not ask for it. */
  | { readonly kind: 'finished'; readonly result: Uint8Array | null }
  | { readonly kind: 'failed'; readonly error: SkeinError }
  /** Not settled: its code goes on although it was told to stop. */
  | { readonly kind: 'killed'; readonly reason: string; readonly isSettled: boolean }
  /** Its node left while it ran. */
  | { readonly kind: 'left'; readonly isSettled: boolean }

export type PackedOutcome = readonly [kind: number, ...rest: unknown[]]

export function packedOutcome(outcome: Outcome, withResult: boolean): PackedOutcome {
  switch (outcome.kind) {
    case 'finished':
      return [0, withResult ? outcome.result : null]
    case 'failed': {
      const { code, message, details, retryable } = outcome.error
      return [1, code, message, packable(details), retryable]
    }
    case 'killed':
      return [2, outcome.reason, outcome.isSettled]
    case 'left':
      return [3, outcome.isSettled]
  }
}

const detailsBytesMax = 65_536

/** Details that cannot travel are left out: the error matters more than they do. */
function packable(details: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  try {
    return pack(details).length <= detailsBytesMax ? details : {}
  } catch {
    return {}
  }
}

/** Throws `protocol_violation`. */
export function outcomeOf(row: unknown): Outcome {
  if (!Array.isArray(row)) throw malformed()
  const [kind, a, b, details, retryable] = row as unknown[]
  if (kind === 0 && (a === null || a instanceof Uint8Array))
    return { kind: 'finished', result: a === null ? null : Uint8Array.prototype.slice.call(a) }
  if (kind === 1 && typeof a === 'string' && typeof b === 'string')
    return {
      kind: 'failed',
      error: new SkeinError(a as ErrorCode, b, {
        details: (details ?? {}) as Record<string, unknown>,
        retryable: retryable === true,
      }),
    }
  if (kind === 2 && typeof a === 'string') return { kind: 'killed', reason: a, isSettled: b === true }
  if (kind === 3) return { kind: 'left', isSettled: a === true }
  throw malformed()
}

/** What a watcher is told in the end: the run's own outcome, or why there is none to be had. */
export type End =
  | { readonly kind: 'outcome'; readonly outcome: Outcome }
  | { readonly kind: 'node'; readonly reason: 'node_failed' | 'node_left' | 'node_restarted' }
  | { readonly kind: 'forgotten' }

export function reasonOf(end: End): DownReason {
  if (end.kind === 'node') return end.reason
  if (end.kind === 'forgotten') return 'unknown'
  return end.outcome.kind === 'left' ? 'node_left' : end.outcome.kind
}

/** Whether its code certainly runs no more. */
export function isOverForCertain(end: End): boolean {
  if (end.kind !== 'outcome') return false
  const { outcome } = end
  return outcome.kind === 'finished' || outcome.kind === 'failed' || outcome.isSettled
}

function malformed(): SkeinError {
  return new SkeinError('protocol_violation', 'a malformed outcome of a run')
}
