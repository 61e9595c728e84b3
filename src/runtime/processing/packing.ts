/** Arguments and results as bytes: plain data with dates, maps, sets, big integers and binary data. */
import { Packr } from 'msgpackr'
import { SkeinError } from '../../core/kernel/error.js'

// Objects as records: that is what tells them from maps.
const packr = new Packr({ structuredClone: true, moreTypes: true })
// Of itself the packer writes nothing in its place, and the other side is called with less than was given.
;(packr as Packr & { writeFunction: () => never }).writeFunction = () => {
  throw new TypeError('a function is no data')
}

/** Throws `invalid_argument` for what cannot be sent, `payload_too_large`. */
export function packData(value: unknown, what: string, bytesMax: number): Uint8Array {
  let packed: Uint8Array
  try {
    // The packer reuses its buffer: what is kept must be a copy of its own.
    packed = Uint8Array.prototype.slice.call(packr.pack(value))
  } catch (cause) {
    throw new SkeinError('invalid_argument', `${what} cannot be packed: ${String(cause)}`, { cause })
  }
  if (packed.length > bytesMax)
    throw new SkeinError('payload_too_large', `${what}: ${packed.length} bytes, ${bytesMax} are allowed`, {
      details: { bytes: packed.length, bytes_max: bytesMax },
    })
  return packed
}

/** Throws `protocol_violation`. */
export function unpackData(bytes: Uint8Array, what: string): unknown {
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new SkeinError('protocol_violation', `${what} cannot be unpacked: ${String(cause)}`, { cause })
  }
}
