/**
 * Events from outside: one JSON object, an array, or NDJSON, checked by hand because a schema per event would cost more than
 * the rest of the path. Says the same as `eventInputSchema`; a test holds the two together. One bad event does not spoil its batch.
 */
import { utf8Length } from '../core/kernel/text.js'
import type { PublishInput } from '../runtime/node-api.js'
import { limits } from './contract.js'
import { firstByte, isPlainObject, member, parseJson, requireUtf8 } from './json-input.js'
import { HttpProblem, invalid, tooLarge } from './problem.js'

/** An event that may be published, or why not, with its id when that could be read. */
export type CheckedEvent =
  | { readonly event: PublishInput; readonly problem?: undefined }
  | { readonly event?: undefined; readonly problem: HttpProblem; readonly id: string | null }

export interface EventBatch {
  readonly isSingle: boolean
  readonly events: readonly CheckedEvent[]
}

const fields = new Set(['stream', 'key', 'type', 'payload', 'id'])
const loneSurrogate = /\p{Surrogate}/u
const ndjsonTypes = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/x-jsonlines',
])

export const eventBodyTypes = ['application/json', ...ndjsonTypes]

export function checkEvent(value: unknown, where = 'event'): CheckedEvent {
  if (!isPlainObject(value))
    return { problem: invalid(where, value, 'an object {stream, key, type, payload, id?}'), id: null }
  const id = member(value, 'id')
  const problem = problemOfEvent(value, id)
  if (problem !== undefined) return { problem, id: typeof id === 'string' ? id : null }
  const type = member(value, 'type') as string | undefined
  return {
    event: {
      stream: value.stream as string,
      key: value.key as string,
      payload: value.payload,
      ...(type === undefined ? {} : { type }),
      ...(id === undefined ? {} : { id: id as string }),
    },
  }
}

function problemOfEvent(value: Readonly<Record<string, unknown>>, id: unknown): HttpProblem | undefined {
  for (const name in value)
    if (!fields.has(name)) return invalid(name, value[name], `only ${[...fields].join(', ')}`)
  const stream = member(value, 'stream')
  if (!isStream(stream)) return invalid('stream', stream, limits.streamAllowed)
  const key = member(value, 'key')
  if (!isKey(key)) return invalid('key', key, `text of 1 to ${limits.keyBytesMax} bytes of UTF-8`)
  if (!Object.hasOwn(value, 'payload')) return invalid('payload', undefined, 'any JSON value')
  const type = member(value, 'type')
  if (type !== undefined && !isText(type, 0, limits.typeCharactersMax)) {
    return invalid('type', type, `text of at most ${limits.typeCharactersMax} characters`)
  }
  if (id !== undefined && !isText(id, 1, limits.idCharactersMax)) {
    return invalid('id', id, `text of 1 to ${limits.idCharactersMax} characters`)
  }
  return undefined
}

function isStream(value: unknown): value is string {
  return typeof value === 'string' && limits.streamPattern.test(value)
}

/** Control characters are legal in keys and ids; half a surrogate pair is not, as it would come back changed. */
function isKey(value: unknown): value is string {
  return (
    isText(value, 1, limits.keyBytesMax) &&
    (value.length * 3 <= limits.keyBytesMax || utf8Length(value) <= limits.keyBytesMax)
  )
}

function isText(value: unknown, lengthMin: number, lengthMax: number): value is string {
  return (
    typeof value === 'string' &&
    value.length >= lengthMin &&
    value.length <= lengthMax &&
    !loneSurrogate.test(value)
  )
}

/** `contentType` without parameters, in lower case. Throws when nothing of the body can be used. */
export function parseEvents(bytes: Buffer, contentType: string): EventBatch {
  requireUtf8(bytes)
  if (ndjsonTypes.has(contentType)) return { isSingle: false, events: parseLines(bytes) }
  const isArray = firstByte(bytes) === 0x5b
  if (!isArray && bytes.length > limits.singleBytesMax) throw tooLarge(limits.singleBytesMax)
  const value = parseJson(bytes)
  if (Array.isArray(value)) {
    return { isSingle: false, events: value.map((each, index) => checkEvent(each, `[${index}]`)) }
  }
  return { isSingle: true, events: [checkEvent(value, 'body')] }
}

/** One event a line; empty lines are passed over. */
function parseLines(bytes: Buffer): CheckedEvent[] {
  const events: CheckedEvent[] = []
  for (let from = 0, line = 1; from < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, from)
    const to = newline === -1 ? bytes.length : newline
    if (firstByte(bytes.subarray(from, to)) !== undefined)
      events.push(parseLine(bytes, from, to, `line ${line}`))
    from = to + 1
  }
  return events
}

function parseLine(bytes: Buffer, from: number, to: number, where: string): CheckedEvent {
  if (to - from > limits.singleBytesMax) return { problem: tooLarge(limits.singleBytesMax), id: null }
  try {
    return checkEvent(parseJson(bytes, from, to, where), where)
  } catch (error) {
    if (error instanceof HttpProblem) return { problem: error, id: null }
    throw error
  }
}
