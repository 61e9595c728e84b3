/** Between an agent in a thread of its own and its node's main thread. */

import type { AgentFacts } from './body.js'
import type { StopCause } from './definition.js'

export interface WorkerSetup {
  /** URL of the module that defines the agent's kind. */
  readonly module: string
  readonly facts: AgentFacts
}

export type ToWorker =
  | { readonly type: 'start'; readonly id: number; readonly state: Uint8Array | undefined }
  | { readonly type: 'call'; readonly id: number; readonly method: string; readonly args: Uint8Array }
  | { readonly type: 'step'; readonly id: number; readonly step: number }
  | { readonly type: 'stop'; readonly id: number; readonly why: StopCause }
  | { readonly type: 'abort' }
  | {
      readonly type: 'reached'
      readonly id: number
      readonly value: unknown
      readonly error: WireError | null
    }

/** `done` carries the state as it is then. */
export type FromWorker =
  | { readonly type: 'done'; readonly id: number; readonly result: Uint8Array; readonly state: Uint8Array }
  | {
      readonly type: 'failed'
      readonly id: number
      readonly error: WireError
      readonly state: Uint8Array | undefined
    }
  | {
      readonly type: 'reach'
      readonly id: number
      readonly what: 'publish' | 'call'
      readonly args: readonly unknown[]
    }
  | { readonly type: 'every'; readonly everyMs: number; readonly step: number }
  | { readonly type: 'complete'; readonly detail: string }
  | {
      readonly type: 'log'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly event: string
      readonly fields: Readonly<Record<string, unknown>>
    }

export interface WireError {
  readonly code: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
  readonly retryable: boolean
}
