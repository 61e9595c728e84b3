/**
 * The outgoing bytes of one connection. Frames are encoded where they will be written from: small ones next to each
 * other in a slab, so that all frames of a turn leave in one write and a frame costs no object of its own; large bodies
 * go out without a copy. A socket that says "enough" is not written to until it drains.
 *
 * Every frame has a place in the stream: what lies before `writtenBytes` was handed to the socket and may have been
 * sent, what lies after it certainly was not. What frames mean must not live here.
 */
import type { Socket } from 'node:net'
import { type FrameKind, frameHeaderBytes, writeFrameHeader } from '../../core/wire/frame.js'

const slabBytes = 64 * 1024
/** Bodies from here on are handed to the socket as they are. */
const bodyBytesByReference = 16 * 1024
/** Handed to the socket at a time; the rest waits where it is certainly unsent. */
const writeBytesMax = 256 * 1024

export class Outbox {
  /** The socket has not drained: nothing is written until it does. */
  isBlocked = false
  /** Of all frames put in since the beginning. */
  encodedBytes = 0
  /** Of these, handed to the socket. */
  writtenBytes = 0
  frames = 0
  private readonly socket: Socket
  private slab: Buffer | undefined
  private from = 0
  private at = 0
  private chunks: Uint8Array[] = []
  private next = 0
  private isScheduled = false
  private isEnded = false

  constructor(socket: Socket) {
    this.socket = socket
  }

  /** Bytes that wait: ours and the socket's. */
  get backlogBytes(): number {
    return this.encodedBytes - this.writtenBytes + this.socket.writableLength
  }

  /** A large body is not copied: it must not change until it is written. */
  put(kind: FrameKind, type: number, id: number, body: Uint8Array): void {
    const size = frameHeaderBytes + body.length
    const isLarge = body.length >= bodyBytesByReference
    const room = isLarge ? frameHeaderBytes : size
    let slab = this.slab
    if (slab === undefined || this.at + room > slab.length) slab = this.renewSlab()
    const at = writeFrameHeader(slab, this.at, kind, type, id, body.length)
    this.at = at
    if (isLarge) {
      this.closeChunk()
      this.chunks.push(body)
    } else {
      slab.set(body, at)
      this.at = at + body.length
    }
    this.encodedBytes += size
    this.frames++
    if (!this.isScheduled) {
      this.isScheduled = true
      process.nextTick(flushOutbox, this)
    }
  }

  /** Writes what waits, as far as the socket takes it. */
  flush(): void {
    this.isScheduled = false
    if (this.isBlocked || this.isEnded) return
    const { slab } = this
    if (this.chunks.length === 0 && slab !== undefined && this.at > this.from) {
      const bytes = slab.subarray(this.from, this.at)
      this.from = this.at
      this.writtenBytes += bytes.length
      this.isBlocked = !this.socket.write(bytes)
      return
    }
    this.closeChunk()
    while (!this.isBlocked && this.next < this.chunks.length) this.writeSome()
  }

  /** The socket drained. */
  unblock(): void {
    this.isBlocked = false
    this.flush()
  }

  /** Writes all that is left, whatever the socket says: for the last words before an end. */
  flushAll(): void {
    this.isBlocked = false
    do {
      this.isBlocked = false
      this.flush()
    } while (this.encodedBytes > this.writtenBytes && !this.isEnded)
  }

  /** Nothing more is written. */
  end(): void {
    this.isEnded = true
    this.chunks = []
    this.next = 0
    this.slab = undefined
  }

  /** Lets the slab of a silent connection go. */
  trim(): void {
    if (this.from === this.at && this.chunks.length === 0) this.slab = undefined
  }

  private writeSome(): void {
    this.socket.cork()
    let bytes = 0
    while (this.next < this.chunks.length && bytes < writeBytesMax) {
      const chunk = this.chunks[this.next++] as Uint8Array
      bytes += chunk.length
      this.isBlocked = !this.socket.write(chunk)
    }
    this.socket.uncork()
    this.writtenBytes += bytes
    if (this.next === this.chunks.length) {
      this.chunks = []
      this.next = 0
    } else if (this.next > 1_024) {
      this.chunks = this.chunks.slice(this.next)
      this.next = 0
    }
  }

  private renewSlab(): Buffer {
    this.closeChunk()
    this.from = 0
    this.at = 0
    this.slab = Buffer.allocUnsafeSlow(slabBytes)
    return this.slab
  }

  /** What was encoded into the slab since the last time becomes a chunk of its own. */
  private closeChunk(): void {
    if (this.slab === undefined || this.at === this.from) return
    this.chunks.push(this.slab.subarray(this.from, this.at))
    this.from = this.at
  }
}

function flushOutbox(outbox: Outbox): void {
  outbox.flush()
}
