/** A WebSocket as a stream of bytes, and the sign by which a door shows which address a connection came in at. */
import { createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { createWebSocketStream, type WebSocket } from 'ws'

/** Of one message. Strangers can make this end hold so much each. */
export const messageBytesMax = 256 * 1024
export const doorSignHeader = 'skein-door'
const streamBufferBytes = 256 * 1024

/** A long write goes out as several messages. */
export function openStream(socket: WebSocket): Duplex {
  const stream = createWebSocketStream(socket, { highWaterMark: streamBufferBytes })
  const write = stream._write.bind(stream)
  stream._write = (chunk: Buffer, encoding, done) => {
    let from = 0
    for (; chunk.length - from > messageBytesMax; from += messageBytesMax)
      socket.send(chunk.subarray(from, from + messageBytesMax))
    write(from === 0 ? chunk : chunk.subarray(from), encoding, done)
  }
  return stream
}

/**
 * Of the address that an accepting end sees as its own, or a dialling end as the other's. `accept` is what the WebSocket's handshake made up
 * for this connection, so that the sign tells nobody else anything it can look up.
 */
export function doorSign(
  accept: string | undefined,
  host: string | undefined,
  port: number | undefined,
): string {
  const plainHost = host?.replace(/^::ffff:/i, '')
  return createHash('sha256').update(`${accept} ${plainHost} ${port}`).digest('base64url').slice(0, 22)
}
