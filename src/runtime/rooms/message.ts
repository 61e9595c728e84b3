/**
 * A message on its way to sockets: the text is made once in the cluster, the WebSocket frame once on each node, and every socket gets the same bytes.
 */
import * as ws from 'ws'
import { SkeinError } from '../../core/kernel/error.js'
import type { RoomMessage, RoomSender } from './api-types.js'

/** Not in the typings: frames are made by the library, and only once. */
const { Sender } = ws as unknown as {
  readonly Sender: {
    frame(data: Uint8Array, options: Readonly<Record<string, unknown>>): Buffer[]
  }
}

/** A whole frame from a server: text, final, not masked. */
export function textFrame(text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  return Buffer.concat(
    Sender.frame(bytes, { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true }),
  )
}

export function jsonFrame(value: unknown): Uint8Array {
  return textFrame(JSON.stringify(value))
}

export class Message {
  readonly room: string
  /** 0 in rooms without history. */
  readonly position: number
  readonly except: readonly string[] | null
  readonly text: Uint8Array
  private framed: Uint8Array | undefined
  private parsed: RoomMessage | undefined

  constructor(room: string, position: number, except: readonly string[] | null, text: Uint8Array) {
    this.room = room
    this.position = position
    this.except = except
    this.text = text
  }

  get frame(): Uint8Array {
    this.framed ??= textFrame(this.text)
    return this.framed
  }

  get view(): RoomMessage {
    this.parsed ??= viewOf(this.text)
    return this.parsed
  }
}

/** What a message says, without where it stands: `{"from":…,"data":…}`, after `except` where somebody is left out. */
export function innerText(from: RoomSender, data: unknown): string {
  const text = JSON.stringify(data)
  if (text === undefined)
    throw new SkeinError('invalid_argument', 'data: any JSON value is allowed', {
      details: { field: 'data' },
    })
  return `{"from":${JSON.stringify(from)},"data":${text}}`
}

export function messageText(
  room: string,
  id: string,
  atMs: number,
  position: number | undefined,
  inner: string,
): Uint8Array {
  const place = position === undefined ? '' : `"position":${position},`
  const head = `{"type":"message","room":${JSON.stringify(room)},"id":${JSON.stringify(id)},"at":"${new Date(atMs).toISOString()}",${place}`
  return Buffer.from(head + inner.slice(1))
}

function viewOf(text: Uint8Array): RoomMessage {
  const {
    type: _,
    at,
    ...rest
  } = JSON.parse(Buffer.from(text).toString()) as Omit<RoomMessage, 'atMs'> & {
    readonly type: string
    readonly at: string
  }
  return { ...rest, atMs: Date.parse(at) }
}

const exceptStart = '{"except":'
const innerStart = '{"from":'

/** As an event's payload; written as JSON it begins as `innerText` does. */
export function storedPayload(
  except: readonly string[] | null,
  from: RoomSender,
  data: unknown,
): Readonly<Record<string, unknown>> {
  return except === null ? { from, data } : { except, from, data }
}

/** Undefined for an event that somebody else wrote into the stream of rooms. */
export function messageOfEvent(event: {
  readonly key: string
  readonly id: string
  readonly payload: string
  readonly offset: number
  readonly atMs: number
}): Message | undefined {
  const { key, offset, atMs, payload } = event
  const id = event.id.slice(event.id.indexOf(':') + 1)
  if (payload.startsWith(innerStart))
    return new Message(key, offset, null, messageText(key, id, atMs, offset, payload))
  if (!payload.startsWith(exceptStart)) return undefined
  const { except, ...rest } = JSON.parse(payload) as { except: unknown }
  if (!Array.isArray(except) || !except.every((each) => typeof each === 'string')) return undefined
  return new Message(key, offset, except, messageText(key, id, atMs, offset, JSON.stringify(rest)))
}
