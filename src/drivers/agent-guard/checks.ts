/** What callers may ask for. Every refusal is `invalid_argument` and says what was given, where, and what is allowed. */
import { constants } from 'node:os'
import { SkeinError } from '../../core/kernel/error.js'
import type { Hook, ProcessSpec } from '../../ports/agent-processes.js'
import { hookTextMax, waitMsMax } from './settings.js'

/** Of command, arguments and environment together, bytes: less than any system's limit for one program. */
const orderBytesMax = 128 * 1_024
const inputBytesMax = 1_024 * 1_024
/** They have calls of their own, which remember what they did. */
const reservedSignals: Readonly<Record<string, string>> = { SIGSTOP: 'pause', SIGCONT: 'resume' }

export function checkName(name: unknown): void {
  if (typeof name === 'string' && name.length >= 1 && name.length <= 256 && !name.includes('\0')) return
  throw refused('name', shown(name), 'a text of 1 to 256 characters without a NUL')
}

export function checkEpoch(epoch: unknown): void {
  checkInteger('epoch', epoch, 0, Number.MAX_SAFE_INTEGER)
}

export function checkSpec(spec: ProcessSpec): void {
  checkName(spec.name)
  checkOrder(spec)
  checkInteger('stopGraceMs', spec.stopGraceMs, 0, waitMsMax)
}

export function checkHook(hook: Hook): void {
  checkName(hook.name)
  checkEpoch(hook.epoch)
  checkOrder(hook)
  if (typeof hook.input !== 'string' || hook.input.length > hookTextMax)
    throw refused('input', shown(hook.input), `a text of at most ${hookTextMax} characters`)
  checkInteger('timeoutMs', hook.timeoutMs, 1, waitMsMax)
  checkInteger('outputBytesMax', hook.outputBytesMax, 0, hookTextMax)
}

export function checkGrace(graceMs: unknown): void {
  checkInteger('graceMs', graceMs, 0, waitMsMax)
}

export function checkSignal(signal: unknown): void {
  const call = typeof signal === 'string' ? reservedSignals[signal] : undefined
  if (call !== undefined)
    throw refused('signal', shown(signal), `another signal: for this one there is ${call}`)
  if (typeof signal === 'string' && Object.hasOwn(constants.signals, signal)) return
  throw refused('signal', shown(signal), 'the name of a signal of this system, like SIGHUP')
}

export function checkInput(text: unknown): void {
  if (typeof text === 'string' && Buffer.byteLength(text) <= inputBytesMax) return
  throw refused('text', shown(text), `a text of at most ${inputBytesMax} bytes`)
}

export function checkOutputQuery(query: { readonly afterSeq?: number; readonly limit: number }): void {
  checkInteger('limit', query.limit, 1, 10_000)
  if (query.afterSeq !== undefined) checkInteger('afterSeq', query.afterSeq, 0, Number.MAX_SAFE_INTEGER)
}

function checkOrder({ command, args, env, cwd }: Pick<Hook, 'command' | 'args' | 'env' | 'cwd'>): void {
  if (!isPlain(command) || command === '')
    throw refused('command', shown(command), 'a path or the name of a program')
  if (!Array.isArray(args) || !args.every(isPlain))
    throw refused('args', shown(args), 'a list of texts without a NUL')
  if (cwd !== undefined && (!isPlain(cwd) || cwd === '')) throw refused('cwd', shown(cwd), 'a directory')
  if (typeof env !== 'object' || env === null) throw refused('env', shown(env), 'texts by name')
  for (const [name, value] of Object.entries(env)) {
    if (!/^[^=\0]+$/.test(name)) throw refused('env', shown(name), 'names without "=" and NUL')
    if (!isPlain(value)) throw refused(`env.${name}`, shown(value), 'a text without a NUL')
  }
  const texts = [command, ...args, ...Object.entries(env).flat()]
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0)
  if (bytes > orderBytesMax)
    throw refused('command, args and env', `${bytes} bytes`, `at most ${orderBytesMax} bytes together`)
}

function checkInteger(field: string, value: unknown, min: number, max: number): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return
  throw refused(field, shown(value), `a whole number from ${min} to ${max}`)
}

function isPlain(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0')
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

function refused(field: string, got: string, allowed: string): SkeinError {
  return new SkeinError('invalid_argument', `${field} ${got}: ${allowed} expected`, { details: { field } })
}
