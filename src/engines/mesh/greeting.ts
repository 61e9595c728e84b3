/**
 * What two ends say to each other outside of anybody's messages: hello with the credit each gives, refusal, goodbye.
 * JSON, because it is said once per connection and must stay readable across versions. Readers take what is unknown as
 * garbage: undefined, never an exception.
 */
import type { Hello } from '../../ports/transport.js'

export const controlTypes = {
  /** First on a connection, from the dialling end; answered by the other's. */
  hello: 1,
  /** Instead of a hello, or after one: not with you. */
  refuse: 2,
  /** Last on a connection: what ends now ends by agreement. */
  goodbye: 3,
  /** This end sends nothing of its own on this connection any more, and still answers what it was asked. */
  retire: 4,
  /** Is anybody there? Answered at once with the next one, whatever else is under way; older versions say nothing. */
  ping: 5,
  pong: 6,
} as const

export const controlBytesMax = 16 * 1024

/** What an end lets the other have unanswered at one time. One request is always let through. */
export interface Credit {
  readonly requestsMax: number
  readonly requestBytesMax: number
}

export interface Greeting {
  readonly hello: Hello
  readonly credit: Credit
}

export interface Refusal {
  readonly code: string
  readonly detail: string
}

export function encodeGreeting(hello: Hello, credit: Credit): Uint8Array {
  return Buffer.from(JSON.stringify({ ...hello, ...credit }))
}

export function decodeGreeting(body: Uint8Array): Greeting | undefined {
  const h = parse(body)
  const { clusterName, nodeId, bootId, address, storeIdentity, journalIdentity } = h
  const { protocolMin, protocolMax, requestsMax, requestBytesMax } = h
  if (
    !isText(clusterName, 256) ||
    !isText(nodeId, 64) ||
    !isText(bootId, 128) ||
    !isText(address, 300) ||
    !isText(storeIdentity, 1_024) ||
    !isText(journalIdentity, 1_024) ||
    !isCount(protocolMin) ||
    !isCount(protocolMax) ||
    !isCount(requestsMax) ||
    !isCount(requestBytesMax)
  ) {
    return undefined
  }
  return {
    hello: {
      clusterName,
      nodeId,
      bootId,
      address,
      protocolMin,
      protocolMax,
      storeIdentity,
      journalIdentity,
    },
    credit: { requestsMax: Math.min(Math.max(requestsMax, 1), 65_535), requestBytesMax },
  }
}

export function encodeRefusal(refusal: Refusal): Uint8Array {
  return Buffer.from(JSON.stringify(refusal))
}

export function decodeRefusal(body: Uint8Array): Refusal {
  const { code, detail } = parse(body)
  return {
    code: isText(code, 64) ? code : 'protocol_violation',
    detail: isText(detail, 4_000) ? detail : 'the peer refuses this node and does not say why',
  }
}

export function encodeGoodbye(detail: string): Uint8Array {
  return Buffer.from(JSON.stringify({ detail }))
}

export function decodeGoodbye(body: Uint8Array): string {
  const { detail } = parse(body)
  return isText(detail, 300) ? detail : 'the peer said goodbye'
}

function parse(body: Uint8Array): Record<string, unknown> {
  if (body.length > controlBytesMax) return {}
  try {
    const value: unknown = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.length <= charsMax
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
