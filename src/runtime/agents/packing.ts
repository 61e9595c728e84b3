/** State, arguments and results as bytes: plain data with dates, maps, sets and big integers. */
import { Packr } from 'msgpackr'
import { SkeinError } from '../../core/kernel/error.js'

const packr = new Packr({ useRecords: false, structuredClone: true, moreTypes: true })
// Of itself the packer writes nothing in its place, and what somebody believes to be kept is gone.
;(packr as Packr & { writeFunction: () => never }).writeFunction = () => {
  throw new TypeError('a function is no data')
}

/** Throws `invalid_argument` for what cannot be sent (functions, handles). */
export function packData(value: unknown, what: string): Uint8Array {
  try {
    // The packer reuses its buffer: what is kept must be a copy of its own.
    return Uint8Array.prototype.slice.call(packr.pack(value))
  } catch (cause) {
    throw new SkeinError('invalid_argument', `${what} cannot be packed: ${String(cause)}`, { cause })
  }
}

/** Throws `protocol_violation`. */
export function unpackData(bytes: Uint8Array, what: string): unknown {
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new SkeinError('protocol_violation', `${what} cannot be unpacked: ${String(cause)}`, { cause })
  }
}
