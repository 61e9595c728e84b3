/** What nodes say to each other about agents, packed as arrays. */

import type { ErrorCode } from '../../core/kernel/error.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { AgentFence } from '../../core/routing/events.js'
import { fenceOf, pack, unpack } from '../mesh-frames.js'

export interface CallFrame {
  readonly name: string
  /** Who calls: one stream of calls in order. */
  readonly caller: string
  /** 1, 2, 3 … per caller and agent. */
  readonly seq: number
  /** The call before this one that is not answered yet; 0 for none. Out of turn without it. */
  readonly prev: number
  /** Answers up to this one were received, or are not waited for any more. */
  readonly acked: number
  readonly method: string
  readonly args: Uint8Array
  /** From now, ms. */
  readonly timeoutMs: number
  /** Of the agent that calls. */
  readonly fence?: AgentFence
}

export type CallReply =
  | { readonly kind: 'result'; readonly result: Uint8Array }
  | { readonly kind: 'error'; readonly error: SkeinError }
  /** Certainly not done: ask again, where the directory says, or at `hint`. */
  | { readonly kind: 'again'; readonly detail: string; readonly hint: string | null }

export function packCall(c: CallFrame): Uint8Array {
  const fence = c.fence === undefined ? [] : [c.fence.agent, c.fence.epoch]
  return pack([c.name, c.caller, c.seq, c.prev, c.acked, c.method, c.args, c.timeoutMs, ...fence])
}

export function unpackCall(body: Uint8Array): CallFrame {
  const row = unpack(body)
  if (
    !Array.isArray(row) ||
    (row.length !== 8 && row.length !== 10) ||
    typeof row[0] !== 'string' ||
    typeof row[1] !== 'string' ||
    ![row[2], row[3], row[4], row[7]].every((n) => Number.isFinite(n)) ||
    typeof row[5] !== 'string' ||
    !(row[6] instanceof Uint8Array)
  )
    throw new SkeinError('protocol_violation', 'a malformed call of an agent')
  const [name, caller, seq, prev, acked, method, args, timeoutMs] = row as [
    string,
    string,
    number,
    number,
    number,
    string,
    Uint8Array,
    number,
  ]
  const fence = row.length === 10 ? { fence: fenceOf(row[8], row[9]) } : {}
  const copy = Uint8Array.prototype.slice.call(args)
  return { name, caller, seq, prev, acked, method, args: copy, timeoutMs, ...fence }
}

export function packReply(reply: CallReply): Uint8Array {
  if (reply.kind === 'result') return pack([0, reply.result])
  if (reply.kind === 'again') return pack([2, reply.detail, reply.hint])
  const { code, message, details, retryable } = reply.error
  return pack([1, code, message, details, retryable])
}

export function unpackReply(body: Uint8Array): CallReply {
  const row = unpack(body)
  if (!Array.isArray(row)) throw new SkeinError('protocol_violation', 'a malformed answer of an agent')
  if (row[0] === 0) return { kind: 'result', result: Uint8Array.prototype.slice.call(row[1]) }
  if (row[0] === 2) return { kind: 'again', detail: String(row[1]), hint: row[2] as string | null }
  return {
    kind: 'error',
    error: new SkeinError(row[1] as ErrorCode, String(row[2]), {
      details: row[3] as Record<string, unknown>,
      retryable: row[4] === true,
    }),
  }
}

/** What a handler threw, fit to travel. */
export function asHandlerError(error: unknown, what: string): SkeinError {
  if (isSkeinError(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  return new SkeinError('handler_failed', `${what}: ${message}`, {
    details: error instanceof Error ? { name: error.name } : {},
    cause: error,
  })
}
