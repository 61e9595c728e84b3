/**
 * Hybrid logical clock (Kulkarni et al. 2014): timestamps that follow causality and stay close to wall time.
 *
 * 12 bytes on the wire: 48 bit wall ms, 16 bit counter, 32 bit node tag, big-endian, so bytes, text (24 hex digits) and time
 * sort alike. A remote timestamp further ahead than `skewMsMax` is refused and reported and leaves the clock as it was.
 *
 * Restart: the clock may not go back behind what it once gave out. It therefore only gives out times up to a ceiling that is already
 * durable; the owner calls `ceilingWanted` now and then, persists the answer and confirms it with `raiseCeiling`.
 * At the ceiling the wall part stands still and the counter goes on counting, then borrows milliseconds: order never breaks.
 */
export interface HlcTimestamp {
  readonly wallMs: number
  readonly counter: number
  readonly tag: number
}

export type HlcReceive =
  | { readonly ok: true; readonly timestamp: HlcTimestamp }
  | { readonly ok: false; readonly aheadMs: number; readonly skewMsMax: number }

export interface HlcOptions {
  /** Tells nodes apart at equal times; 32 bit hash of node id and boot. */
  readonly tag: number
  /** How far ahead of our wall clock a remote timestamp may be, ms. 0 … 86,400,000. */
  readonly skewMsMax: number
  /** Highest ceiling that was ever persisted in this data directory, 0 for none. */
  readonly ceilingMs: number
  /**
   * How far ahead the ceiling is reserved, ms; default 400. A restart begins at the old ceiling, so this must stay below the
   * others' skew limit, or they refuse the restarted node's timestamps for a while.
   */
  readonly reserveMs?: number
}

const counterMax = 0xffff
export const hlcBytes = 12
const wallMsMax = 2 ** 48 - 1

export class HybridClock {
  private wallMs: number
  private counter = 0
  private ceilingMs: number
  private readonly tag: number
  readonly skewMsMax: number
  private readonly reserveMs: number
  /** Remote timestamps refused so far. */
  refusedCount = 0

  constructor(options: HlcOptions) {
    this.tag = options.tag >>> 0
    this.skewMsMax = options.skewMsMax
    this.reserveMs = options.reserveMs ?? 400
    this.ceilingMs = options.ceilingMs
    // Everything given out before the restart was at most at the old ceiling.
    this.wallMs = options.ceilingMs
    this.counter = options.ceilingMs === 0 ? 0 : counterMax
  }

  /** A timestamp greater than every one given out or received before. */
  now(wallMs: number): HlcTimestamp {
    const wall = Math.floor(Math.min(wallMs, this.ceilingMs))
    if (wall > this.wallMs) {
      this.wallMs = wall
      this.counter = 0
    } else this.tick()
    return this.current()
  }

  /** Merges a remote timestamp: the answer is greater than it and than everything before. */
  receive(remote: HlcTimestamp, wallMs: number): HlcReceive {
    const aheadMs = remote.wallMs - wallMs
    // Above the ceiling nothing may be given out: whoever merges raises it first.
    if (aheadMs > this.skewMsMax || remote.wallMs > this.ceilingMs) {
      this.refusedCount++
      return { ok: false, aheadMs, skewMsMax: this.skewMsMax }
    }
    if (remote.wallMs > this.wallMs || (remote.wallMs === this.wallMs && remote.counter > this.counter)) {
      this.wallMs = remote.wallMs
      this.counter = remote.counter
    }
    return { ok: true, timestamp: this.now(wallMs) }
  }

  /** The ceiling to persist before giving out that time, or undefined while the present one has room. */
  ceilingWanted(wallMs: number): number | undefined {
    const ahead = Math.max(wallMs, this.wallMs)
    return this.ceilingMs - ahead < this.reserveMs / 2 ? Math.ceil(ahead + this.reserveMs) : undefined
  }

  /** The ceiling is durable now. */
  raiseCeiling(ceilingMs: number): void {
    if (ceilingMs > this.ceilingMs) this.ceilingMs = ceilingMs
  }

  private tick(): void {
    if (this.counter < counterMax) this.counter++
    else {
      this.wallMs++
      this.counter = 0
    }
  }

  private current(): HlcTimestamp {
    return { wallMs: this.wallMs, counter: this.counter, tag: this.tag }
  }
}

/** Negative, zero or positive, like the order of the bytes and of the texts. */
export function compareHlc(a: HlcTimestamp, b: HlcTimestamp): number {
  return a.wallMs - b.wallMs || a.counter - b.counter || a.tag - b.tag
}

/** 24 lower-case hex digits; sorts as the timestamps do. */
export function hlcToText(t: HlcTimestamp): string {
  return (
    t.wallMs.toString(16).padStart(12, '0') +
    t.counter.toString(16).padStart(4, '0') +
    (t.tag >>> 0).toString(16).padStart(8, '0')
  )
}

/** Undefined unless the text is exactly what `hlcToText` makes. */
export function hlcFromText(text: string): HlcTimestamp | undefined {
  if (!/^[0-9a-f]{24}$/.test(text)) return undefined
  return {
    wallMs: Number.parseInt(text.slice(0, 12), 16),
    counter: Number.parseInt(text.slice(12, 16), 16),
    tag: Number.parseInt(text.slice(16), 16),
  }
}

export function hlcToBytes(t: HlcTimestamp): Uint8Array {
  const bytes = new Uint8Array(hlcBytes)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, Math.floor(t.wallMs / 0x1_0000_0000))
  view.setUint32(2, t.wallMs >>> 0)
  view.setUint16(6, t.counter)
  view.setUint32(8, t.tag >>> 0)
  return bytes
}

/** Undefined unless there are exactly 12 bytes. */
export function hlcFromBytes(bytes: Uint8Array): HlcTimestamp | undefined {
  if (bytes.length !== hlcBytes) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, hlcBytes)
  const wallMs = view.getUint16(0) * 0x1_0000_0000 + view.getUint32(2)
  return wallMs > wallMsMax ? undefined : { wallMs, counter: view.getUint16(6), tag: view.getUint32(8) }
}
