/** What an event and a query must look like; one place for library and HTTP. */
import { SkeinError } from '../core/kernel/error.js'
import type { NewEvent } from '../core/routing/events.js'
import type { EventQuery, PublishInput } from './node-api.js'

export const eventLimits = {
  streamCharsMax: 128,
  keyBytesMax: 1_024,
  idCharsMax: 256,
  typeCharsMax: 128,
  payloadBytesMax: 1_048_576,
} as const

const loneSurrogate = /\p{Surrogate}/u
const streamPattern = /^[A-Za-z0-9._-]{1,128}$/

type Checked =
  | {
      readonly stream: string
      readonly key: string
      readonly id: string
      readonly type: string
      readonly payload: string
    }
  | { readonly error: SkeinError }

export function checkEvent(input: PublishInput): Checked {
  const { stream, key, id, type } = input
  if (typeof stream !== 'string' || !streamPattern.test(stream))
    return wrong('stream', stream, '1 to 128 characters of A-Z a-z 0-9 . _ -')
  if (
    typeof key !== 'string' ||
    key.length === 0 ||
    Buffer.byteLength(key) > eventLimits.keyBytesMax ||
    loneSurrogate.test(key)
  )
    return wrong('key', key, `well-formed text of 1 to ${eventLimits.keyBytesMax} bytes`)
  if (
    id !== undefined &&
    (typeof id !== 'string' ||
      id.length === 0 ||
      id.length > eventLimits.idCharsMax ||
      loneSurrogate.test(id))
  )
    return wrong('id', id, `well-formed text of 1 to ${eventLimits.idCharsMax} characters, or nothing`)
  if (type !== undefined && (typeof type !== 'string' || type.length > eventLimits.typeCharsMax))
    return wrong('type', type, `text of at most ${eventLimits.typeCharsMax} characters`)
  let payload: string | undefined
  try {
    payload = JSON.stringify(input.payload)
  } catch (cause) {
    return {
      error: new SkeinError('invalid_argument', `payload cannot be written as JSON: ${String(cause)}`, {
        cause,
        details: { field: 'payload' },
      }),
    }
  }
  if (payload === undefined) return wrong('payload', typeof input.payload, 'any JSON value')
  if (Buffer.byteLength(payload) > eventLimits.payloadBytesMax) {
    return {
      error: new SkeinError(
        'payload_too_large',
        `payload of ${Buffer.byteLength(payload)} bytes; at most ${eventLimits.payloadBytesMax} are allowed`,
        { details: { field: 'payload' } },
      ),
    }
  }
  return { stream, key, id: id ?? '', type: type ?? '', payload }
}

/** Why an event that another node took in may not be stored: it is none that this node would have taken. Undefined when there is no reason. */
export function troubleOfForwarded({ stream, key, id, type, payload }: NewEvent): string | undefined {
  if (!streamPattern.test(stream)) return 'its stream'
  if (key.length === 0 || Buffer.byteLength(key) > eventLimits.keyBytesMax) return 'its key'
  if (id.length === 0 || id.length > eventLimits.idCharsMax) return 'its id'
  if (type.length > eventLimits.typeCharsMax) return 'its type'
  if (Buffer.byteLength(payload) > eventLimits.payloadBytesMax) return 'the size of its payload'
  try {
    JSON.parse(payload)
    return undefined
  } catch {
    // Stored, it would make its whole stream unreadable.
    return 'its payload, which is not JSON'
  }
}

/** Throws `invalid_argument`. */
export function checkQuery(query: EventQuery): void {
  const { stream, key, limit } = query
  if (typeof stream !== 'string' || !streamPattern.test(stream))
    throw wrong('stream', stream, '1 to 128 characters of A-Z a-z 0-9 . _ -').error
  if (key !== undefined && (key.length === 0 || Buffer.byteLength(key) > eventLimits.keyBytesMax))
    throw wrong('key', key, `1 to ${eventLimits.keyBytesMax} bytes`).error
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= 1_000))
    throw wrong('limit', limit, 'a whole number from 1 to 1000').error
}

function wrong(field: string, value: unknown, allowed: string): { error: SkeinError } {
  const shown =
    value === undefined ? 'nothing' : JSON.stringify(typeof value === 'string' ? value.slice(0, 64) : value)
  return {
    error: new SkeinError('invalid_argument', `${field}: ${allowed} is allowed, got ${shown}`, {
      details: { field },
    }),
  }
}
