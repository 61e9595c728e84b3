/**
 * The dedupe window of one shard: which ids were stored lately, where, and with what payload. A ring in order of
 * insertion with an index over it; digests are the caller's. Small on purpose: there is one per owned shard.
 */
export interface DedupeOptions {
  /** An id is remembered at least this long, ms … */
  readonly windowMs: number
  /** … and as long as fewer than this many newer ids of the shard came, … */
  readonly idsMin: number
  /** … but never are more than this many remembered. Bounds the memory: about 100 bytes an id. */
  readonly idsMax: number
}

export const dedupeDefaults: DedupeOptions = { windowMs: 600_000, idsMin: 10_000, idsMax: 50_000 }

export interface DedupeEntry {
  readonly offset: number
  readonly payloadDigest: string
  readonly atMs: number
}

export class DedupeWindow {
  private readonly options: DedupeOptions
  /** A Map keeps insertion order: its first entry is the oldest. */
  private readonly entries = new Map<string, DedupeEntry>()

  constructor(options: DedupeOptions) {
    this.options = options
  }

  get size(): number {
    return this.entries.size
  }

  lookup(idDigest: string): DedupeEntry | undefined {
    return this.entries.get(idDigest)
  }

  insert(idDigest: string, entry: DedupeEntry): void {
    this.entries.set(idDigest, entry)
    if (this.entries.size > this.options.idsMax) this.dropOldest()
  }

  /** Forgets what is both old and outnumbered. Cheap: looks at the oldest only. */
  evict(nowMs: number): void {
    while (this.entries.size > this.options.idsMin) {
      const oldest = this.entries.values().next().value as DedupeEntry
      if (nowMs - oldest.atMs <= this.options.windowMs) return
      this.dropOldest()
    }
  }

  private dropOldest(): void {
    this.entries.delete(this.entries.keys().next().value as string)
  }
}
