/** Token buckets by client, in a bounded map: so many requests a second, sustained, and a burst above it. Pure but for being remembered. */

interface Bucket {
  left: number
  atMs: number
}

const clientsMax = 8_192

export class RateLimit {
  private readonly perSecond: number
  private readonly burst: number
  private readonly buckets = new Map<string, Bucket>()

  /** `perSecond` 0: no limit. */
  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond
    this.burst = burst
  }

  get size(): number {
    return this.buckets.size
  }

  /** 0 when the client may go on, else the seconds until it may, at least 1. */
  take(client: string, nowMs: number): number {
    if (this.perSecond === 0) return 0
    const bucket = this.bucket(client, nowMs)
    bucket.left = this.refilled(bucket, nowMs)
    bucket.atMs = nowMs
    if (bucket.left >= 1) {
      bucket.left--
      return 0
    }
    return Math.max(1, Math.ceil((1 - bucket.left) / this.perSecond))
  }

  private refilled({ left, atMs }: Bucket, nowMs: number): number {
    return Math.min(this.burst, left + (Math.max(0, nowMs - atMs) / 1_000) * this.perSecond)
  }

  private bucket(client: string, nowMs: number): Bucket {
    let bucket = this.buckets.get(client)
    if (bucket === undefined) {
      if (this.buckets.size >= clientsMax) this.forget(nowMs)
      bucket = { left: this.burst, atMs: nowMs }
      this.buckets.set(client, bucket)
    }
    return bucket
  }

  /** A full bucket says nothing; when all say something, those known for longest are forgotten, many at once so that it is rarely done. */
  private forget(nowMs: number): void {
    for (const [client, bucket] of this.buckets) {
      if (this.refilled(bucket, nowMs) >= this.burst) this.buckets.delete(client)
    }
    for (const client of this.buckets.keys()) {
      if (this.buckets.size <= (clientsMax * 7) / 8) return
      this.buckets.delete(client)
    }
  }
}
