/**
 * Calls on the mesh. A request: u32 slot, u8 flags, u32 call id, u32 time left in ms, then with the flag `traced` u8 length and the trace, then the
 * payload. Its reply: u8 status, payload. A payload is MessagePack, or bytes as they are. Slots are names that a provider gave out for one boot: a
 * method is found by a number, and never by the number of another.
 */
import { Packr } from 'msgpackr'
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { isServiceError, ServiceError } from '../../core/kernel/service-error.js'

export const serviceFrames = { call: 20, cancel: 21, items: 22 } as const

const packr = new Packr({ useRecords: false, moreTypes: true })
/** For msgpackr: so many bytes are left free before what it packs. */
const reserveStart = 2_048
const reserveMax = 255

const headerBytes = 13
const flags = { raw: 1, traced: 2, stream: 4 } as const
/** With its length byte and the header it must fit what msgpackr can reserve. */
export const traceBytesMax = 240

export interface CallHead {
  readonly slot: number
  readonly callId: number
  /** From now; 0 for no limit. */
  readonly timeoutMs: number
  /** W3C `traceparent`, and after a line break `tracestate`; empty without. */
  readonly trace: string
  readonly isStream: boolean
}

/** Throws `invalid_argument` for what MessagePack cannot hold. */
export function packCall(head: CallHead, payload: unknown): Uint8Array {
  const trace = head.trace === '' ? undefined : Buffer.from(head.trace, 'latin1')
  const reserved = headerBytes + (trace === undefined ? 0 : trace.length + 1)
  const isRaw = payload instanceof Uint8Array
  const body = packAfter(reserved, payload)
  writeU32(body, 0, head.slot)
  body[4] =
    (isRaw ? flags.raw : 0) | (trace === undefined ? 0 : flags.traced) | (head.isStream ? flags.stream : 0)
  writeU32(body, 5, head.callId)
  writeU32(body, 9, head.timeoutMs)
  if (trace !== undefined) {
    body[headerBytes] = trace.length
    body.set(trace, headerBytes + 1)
  }
  return body
}

/** `payload` may be a view of the frame. Throws `protocol_violation`. */
export function unpackCall(body: Uint8Array): CallHead & { readonly payload: unknown } {
  if (body.length < headerBytes) throw malformed()
  const bits = body[4] as number
  let at = headerBytes
  let trace = ''
  if ((bits & flags.traced) !== 0) {
    const end = at + 1 + (body[at] ?? 0)
    if (end > body.length) throw malformed()
    trace = Buffer.from(body.buffer, body.byteOffset + at + 1, end - at - 1).toString('latin1')
    at = end
  }
  return {
    slot: readU32(body, 0),
    callId: readU32(body, 5),
    timeoutMs: readU32(body, 9),
    trace,
    isStream: (bits & flags.stream) !== 0,
    payload: payloadOf(body.subarray(at), (bits & flags.raw) !== 0),
  }
}

const statuses = { value: 0, raw: 1, error: 2 } as const

export function packResult(value: unknown): Uint8Array {
  const body = packAfter(1, value)
  body[0] = value instanceof Uint8Array ? statuses.raw : statuses.value
  return body
}

/** What a handler threw, as its caller gets it wherever that is: what is neither ours nor a `ServiceError` is `handler_failed`. */
export function failureOf(error: unknown): SkeinError | ServiceError {
  if (isServiceError(error) || isSkeinError(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  const details = error instanceof Error ? { name: error.name } : {}
  return new SkeinError('handler_failed', message, { details, cause: error })
}

export function packFailure(error: unknown): Uint8Array {
  const failure = failureOf(error)
  const { code, message, retryable, details } = failure
  const kind = isServiceError(failure) ? 'service' : 'skein'
  let body: Uint8Array
  try {
    body = packAfter(1, [kind, code, message, retryable, details])
  } catch {
    // Details that cannot travel: the error matters more than they do.
    body = packAfter(1, [kind, code, message, retryable, {}])
  }
  body[0] = statuses.error
  return body
}

/** The result. Throws what the other side threw, and `protocol_violation`. */
export function unpackResult(body: Uint8Array): unknown {
  const status = body[0]
  if (status === statuses.value || status === statuses.raw)
    return payloadOf(body.subarray(1), status === statuses.raw)
  if (status !== statuses.error) throw malformed()
  const facts = payloadOf(body.subarray(1), false)
  if (!Array.isArray(facts)) throw malformed()
  const [kind, code, message, retryable, details] = facts as unknown[]
  const options = {
    retryable: retryable === true,
    details: typeof details === 'object' && details !== null ? (details as Record<string, unknown>) : {},
  }
  if (kind === 'service') throw new ServiceError(String(code), String(message), options)
  throw new SkeinError(String(code) as ErrorCode, String(message), options)
}

/** Items of a stream: u32 call id, u8 to whom (0 the caller, 1 the provider), u32 number of the first, then the items packed, or none for the end. */
export interface ItemsFrame {
  readonly callId: number
  readonly toProvider: boolean
  readonly first: number
  /** Undefined: there are no more. */
  readonly items: readonly unknown[] | undefined
}

const itemsHeaderBytes = 9

export function packItems(frame: ItemsFrame): Uint8Array {
  const body =
    frame.items === undefined ? new Uint8Array(itemsHeaderBytes) : packAfter(itemsHeaderBytes, frame.items)
  writeU32(body, 0, frame.callId)
  body[4] = frame.toProvider ? 1 : 0
  writeU32(body, 5, frame.first)
  return body
}

export function unpackItems(body: Uint8Array): ItemsFrame {
  if (body.length < itemsHeaderBytes) throw malformed()
  const items =
    body.length === itemsHeaderBytes ? undefined : payloadOf(body.subarray(itemsHeaderBytes), false)
  if (items !== undefined && !Array.isArray(items)) throw malformed()
  return { callId: readU32(body, 0), toProvider: body[4] === 1, first: readU32(body, 5), items }
}

export function packCancel(callId: number): Uint8Array {
  const body = new Uint8Array(4)
  writeU32(body, 0, callId)
  return body
}

export function unpackCancel(body: Uint8Array): number {
  if (body.length !== 4) throw malformed()
  return readU32(body, 0)
}

function packAfter(reserved: number, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) {
    const body = Buffer.allocUnsafe(reserved + value.length)
    body.set(value, reserved)
    return body
  }
  if (reserved > reserveMax) throw malformed()
  try {
    return packr.pack(value, reserveStart | reserved)
  } catch (cause) {
    throw new SkeinError('invalid_argument', 'a value that cannot be sent: MessagePack does not hold it', {
      cause,
    })
  }
}

function payloadOf(bytes: Uint8Array, isRaw: boolean): unknown {
  if (isRaw) return bytes
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new SkeinError('protocol_violation', 'a payload that cannot be decoded', { cause })
  }
}

function writeU32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24
  into[at + 1] = value >>> 16
  into[at + 2] = value >>> 8
  into[at + 3] = value
}

function readU32(from: Uint8Array, at: number): number {
  return (
    (((from[at] as number) << 24) |
      ((from[at + 1] as number) << 16) |
      ((from[at + 2] as number) << 8) |
      (from[at + 3] as number)) >>>
    0
  )
}

function malformed(): SkeinError {
  return new SkeinError('protocol_violation', 'a malformed frame of a call')
}
