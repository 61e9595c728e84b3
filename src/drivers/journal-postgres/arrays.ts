/**
 * Arrays in PostgreSQL's binary form, for `unnest`: one parameter per column, whatever the number of rows. As text they
 * would be larger, `bytea` twice, and both sides would spend their time on digits.
 *
 * The form: `array_recv` in PostgreSQL's arrayfuncs.c. The client sends a Buffer as it is, in binary format.
 */
const headerBytes = 20
const byteaOid = 17
const int8Oid = 20

export function byteaArray(values: readonly Uint8Array[]): Buffer {
  let size = headerBytes
  for (const value of values) size += 4 + value.length
  const buffer = withHeader(size, byteaOid, values.length)
  let at = headerBytes
  for (const value of values) {
    buffer.writeInt32BE(value.length, at)
    buffer.set(value, at + 4)
    at += 4 + value.length
  }
  return buffer
}

/** Whole numbers within the safe range. */
export function int8Array(values: readonly number[]): Buffer {
  const buffer = withHeader(headerBytes + values.length * 12, int8Oid, values.length)
  let at = headerBytes
  for (const value of values) {
    buffer.writeInt32BE(8, at)
    const high = Math.floor(value / 0x1_0000_0000)
    buffer.writeInt32BE(high, at + 4)
    buffer.writeUInt32BE(value - high * 0x1_0000_0000, at + 8)
    at += 12
  }
  return buffer
}

/** One dimension, no nulls, indexes from 1. An empty array has no dimension. */
function withHeader(size: number, elementOid: number, count: number): Buffer {
  if (count === 0) {
    const empty = Buffer.alloc(12)
    empty.writeInt32BE(elementOid, 8)
    return empty
  }
  const buffer = Buffer.allocUnsafe(size)
  buffer.writeInt32BE(1, 0)
  buffer.writeInt32BE(0, 4)
  buffer.writeInt32BE(elementOid, 8)
  buffer.writeInt32BE(count, 12)
  buffer.writeInt32BE(1, 16)
  return buffer
}
