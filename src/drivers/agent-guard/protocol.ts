/** What node and guard say to each other. Both are of one build, so shapes are not checked again; what users gave is checked in `agents.ts`. */
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type {
  Hook,
  HookResult,
  OutputLine,
  ProcessEvent,
  ProcessSpec,
  ProcessState,
} from '../../ports/agent-processes.js'
import type { GuardSetup } from './settings.js'

/** Calls of the node, by name. */
export interface GuardCalls {
  start: { args: { spec: ProcessSpec; epoch: number }; value: null }
  stop: { args: { name: string; epoch: number; graceMs: number | null }; value: null }
  pause: { args: { name: string }; value: null }
  resume: { args: { name: string }; value: null }
  signal: { args: { name: string; signal: string }; value: null }
  input: { args: { name: string; text: string }; value: null }
  output: {
    args: { name: string; afterSeq: number | null; limit: number }
    value: readonly OutputLine[]
  }
  state: { args: { name: string }; value: ProcessState | null }
  run: { args: { hook: Hook }; value: HookResult }
  ping: { args: Record<string, never>; value: null }
}
export type CallName = keyof GuardCalls

export type LifeEvent = Exclude<ProcessEvent, { type: 'output' }>

export type ToGuard =
  | { readonly type: 'setup'; readonly setup: GuardSetup }
  | { readonly type: 'call'; readonly id: number; readonly call: CallName; readonly args: unknown }
  /** Kill all and end. */
  | { readonly type: 'bye' }

export type FromGuard =
  | { readonly type: 'ready'; readonly lifeLock: string }
  | { readonly type: 'not_ready'; readonly error: ErrorData }
  | { readonly type: 'value'; readonly id: number; readonly value: unknown }
  | { readonly type: 'error'; readonly id: number; readonly error: ErrorData }
  /** `startTicks` with `started`: tells its process from a later one of that pid; 0 where the system does not say. */
  | { readonly type: 'event'; readonly event: LifeEvent; readonly startTicks?: number }
  | { readonly type: 'output'; readonly name: string; readonly lines: readonly OutputLine[] }
  | { readonly type: 'note'; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }
  /** The last one: why it ends. */
  | { readonly type: 'ending'; readonly detail: string }

/** From the guard to the control thread: everything was sent its SIGKILL; it ends when all are gone. */
export interface KillingFrame {
  readonly type: 'killing'
}

/** On the connection of the control thread. */
export type RenewalFrame =
  | { readonly type: 'hello'; readonly token: string }
  | { readonly type: 'renew'; readonly renewal: Renewal }
  | { readonly type: 'bye' }

export interface Renewal {
  /** Monotonic, ms. */
  readonly deadlineMs: number
  /** Both clocks at the moment of the renewal, ms. */
  readonly nowMs: number
  readonly wallMs: number
}

export interface ErrorData {
  readonly code: ErrorCode
  readonly message: string
  readonly isRetryable: boolean
  readonly details: Readonly<Record<string, unknown>>
}

export function toErrorData(error: unknown): ErrorData {
  if (isSkeinError(error)) {
    const { code, message, retryable, details } = error
    return { code, message, isRetryable: retryable, details }
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { code: 'internal', message, isRetryable: false, details: {} }
}

export function fromErrorData({ code, message, isRetryable, details }: ErrorData): SkeinError {
  return new SkeinError(code, message, { retryable: isRetryable, details })
}

/** What the control thread needs to know of a guard, as one text. */
export interface RenewalTarget {
  readonly socketPath: string
  readonly token: string
  readonly mark: string
  readonly pid: number
  /** Of the guard's process, 0 where the system does not tell. */
  readonly startTicks: number
}

export function formatTarget(target: RenewalTarget): string {
  return JSON.stringify(target)
}

/** Throws `invalid_argument`. */
export function parseTarget(text: string): RenewalTarget {
  try {
    const { socketPath, token, mark, pid, startTicks } = JSON.parse(text) as RenewalTarget
    const isWhole =
      [socketPath, token, mark].every((part) => typeof part === 'string' && part !== '') &&
      [pid, startTicks].every(Number.isSafeInteger)
    if (isWhole) return { socketPath, token, mark, pid, startTicks }
  } catch {
    // Not JSON: said below. The text is a secret and not repeated.
  }
  throw new SkeinError('invalid_argument', 'renewal address: the `renewalAddress` of `open()` expected')
}
