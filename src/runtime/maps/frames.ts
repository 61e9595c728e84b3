/** Frames of replicated maps, 40 to 49. Bodies are MessagePack of what `core/maps/wire.ts` makes. */
export const mapFrames = {
  /** One way: writes of the sender. */
  deltas: 40,
  digest: 41,
  buckets: 42,
  chunk: 43,
} as const
