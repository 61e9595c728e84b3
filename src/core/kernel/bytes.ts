/**
 * A growing writer and a bounds-checked reader for the small binary messages of the control plane. Reading past the end
 * or past a limit throws `WireFault`, which never leaves a codec: decoders turn it into a value.
 */
import { utf8Decode, utf8Length, utf8Write } from './text.js'

export class WireFault extends Error {}

export class ByteWriter {
  private bytes: Uint8Array
  private at = 0

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity)
  }

  get length(): number {
    return this.at
  }

  u8(value: number): void {
    this.room(1)
    this.bytes[this.at++] = value
  }

  /** Unsigned, 7 bits a byte; up to 2^53-1. Throws for what is none: of infinity there would be no last byte. */
  varint(value: number): void {
    if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is no varint`)
    this.room(8)
    let rest = value
    while (rest >= 0x80) {
      this.bytes[this.at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.bytes[this.at++] = rest
  }

  string(text: string): void {
    const length = utf8Length(text)
    this.varint(length)
    this.room(length)
    this.at = utf8Write(text, this.bytes, this.at)
  }

  append(other: ByteWriter): void {
    this.room(other.at)
    this.bytes.set(other.bytes.subarray(0, other.at), this.at)
    this.at += other.at
  }

  finish(): Uint8Array {
    return this.bytes.slice(0, this.at)
  }

  private room(more: number): void {
    if (this.at + more <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more))
    grown.set(this.bytes.subarray(0, this.at))
    this.bytes = grown
  }
}

export class ByteReader {
  private at = 0
  private readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get rest(): number {
    return this.bytes.length - this.at
  }

  u8(): number {
    if (this.at >= this.bytes.length) throw new WireFault('message ends early')
    return this.bytes[this.at++] as number
  }

  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const b = this.u8()
      value += (b & 0x7f) * scale
      if (b < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break
        return value
      }
      scale *= 0x80
    }
    throw new WireFault('number out of range')
  }

  string(bytesMax: number): string {
    const length = this.varint()
    if (length > bytesMax) throw new WireFault(`text of ${length} bytes where ${bytesMax} are allowed`)
    if (length > this.rest) throw new WireFault('message ends early')
    const text = utf8Decode(this.bytes, this.at, this.at + length)
    this.at += length
    return text
  }

  /** What is length-prefixed, to be read for itself. */
  part(bytesMax: number): ByteReader {
    const length = this.varint()
    if (length > bytesMax) throw new WireFault(`${length} bytes where ${bytesMax} are allowed`)
    if (length > this.rest) throw new WireFault('message ends early')
    const part = new ByteReader(this.bytes.subarray(this.at, this.at + length))
    this.at += length
    return part
  }

  /** A count of things that take at least one byte each. */
  count(most: number): number {
    const count = this.varint()
    if (count > most || count > this.rest) throw new WireFault(`${count} items where ${most} are allowed`)
    return count
  }
}
