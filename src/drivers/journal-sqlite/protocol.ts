/**
 * What crosses between the journal's thread and its owner: calls by name, answers by number, errors as plain data
 * (a structured clone would lose their codes).
 */
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { EngineOptions, JournalEngine } from './engine.js'

type EngineMethod = {
  [K in keyof JournalEngine]: JournalEngine[K] extends (...args: never[]) => unknown ? K : never
}[keyof JournalEngine]

export type CallName = EngineMethod
export type CallArguments<N extends CallName> = Parameters<JournalEngine[N]>
export type CallValue<N extends CallName> = ReturnType<JournalEngine[N]>

export interface CallMessage {
  readonly number: number
  readonly name: CallName
  readonly args: readonly unknown[]
}

export type AnswerMessage =
  | { readonly number: number; readonly value: unknown }
  | { readonly number: number; readonly error: ErrorData }

export interface WorkerData {
  readonly options: EngineOptions
}

export interface ErrorData {
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>
}

export function toErrorData(error: unknown): ErrorData {
  if (isSkeinError(error)) {
    const { code, message, retryable, details } = error
    return { code, message, retryable, details }
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { code: 'internal', message, retryable: false, details: {} }
}

export function fromErrorData({ code, message, retryable, details }: ErrorData): SkeinError {
  return new SkeinError(code, message, { retryable, details })
}
