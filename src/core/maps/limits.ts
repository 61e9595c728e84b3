/** Bounds of replicated maps. Local writes keep to them; what other nodes wrote is taken up to twice as much, so that writers on two sides of a partition do not shut each other out. */
export interface MapLimits {
  /** Maps that hold anything. */
  readonly mapsMax: number
  /** Live keys of one map. */
  readonly keysMax: number
  /** Of one map: keys, values and what is kept about them. */
  readonly mapBytesMax: number
  /** Of all maps. */
  readonly totalBytesMax: number
  /** Deletes of one map that are remembered. */
  readonly tombstonesMax: number
  /** One value, one set or one counter. */
  readonly valueBytesMax: number
  /** Larger entries are not sent around but fetched, in pieces. */
  readonly largeBytes: number
  readonly chunkBytes: number
  /** Of one answer to a pull. */
  readonly pageBytes: number
  /** How long a delete is remembered while some member may not have seen it. */
  readonly horizonMs: number
  /** How long it is remembered at least. */
  readonly settleMs: number
  /** How far ahead of our wall clock a write may be stamped. */
  readonly skewMsMax: number
}

export const mapLimits: MapLimits = {
  mapsMax: 1_000,
  keysMax: 100_000,
  mapBytesMax: 64 * 1_048_576,
  totalBytesMax: 256 * 1_048_576,
  tombstonesMax: 100_000,
  valueBytesMax: 4 * 1_048_576,
  largeBytes: 65_536,
  chunkBytes: 262_144,
  pageBytes: 262_144,
  horizonMs: 24 * 3_600_000,
  settleMs: 30_000,
  skewMsMax: 500,
}

export const keyBytesMax = 1_024
export const mapNamePattern = /^[A-Za-z0-9._-]{1,128}$/
export const actorPattern = /^[A-Za-z0-9._-]{1,64}~[0-9a-f]{24}$/
export const stampPattern = /^[0-9a-f]{24}$/
/** Concurrent values of a key that are kept; of more, the newest. */
export const siblingsMax = 8
/** Processes that ever added to one counter. */
export const counterActorsMax = 1_024
export const setElementsMax = 10_000
export const jsonDepthMax = 64
/** What is kept about one write, beside its text. */
export const dotBytes = 96
