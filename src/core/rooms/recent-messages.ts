/**
 * The newest messages of one room, so that whoever was away for a moment needs no read of the log. It holds every message after `from`, up to the
 * last; what it has to give up for its limits raises `from`.
 */
export interface RecentMessage<T> {
  readonly position: number
  readonly bytes: number
  readonly item: T
}

export class RecentMessages<T> {
  private readonly countMax: number
  private readonly bytesMax: number
  private messages: RecentMessage<T>[] = []
  private bytes = 0
  private since: number

  constructor(from: number, limits: { readonly countMax: number; readonly bytesMax: number }) {
    this.since = from
    this.countMax = limits.countMax
    this.bytesMax = limits.bytesMax
  }

  get from(): number {
    return this.since
  }

  get size(): number {
    return this.messages.length
  }

  /** The next one; positions rise. */
  push(message: RecentMessage<T>): void {
    this.messages.push(message)
    this.bytes += message.bytes
    let over = 0
    while (
      over < this.messages.length &&
      (this.messages.length - over > this.countMax || this.bytes > this.bytesMax)
    ) {
      const gone = this.messages[over++] as RecentMessage<T>
      this.bytes -= gone.bytes
      this.since = gone.position
    }
    if (over > 0) this.messages.splice(0, over)
  }

  /** All after `position`, undefined when some of them are not here. */
  after(position: number): readonly RecentMessage<T>[] | undefined {
    if (position < this.since) return undefined
    let low = 0
    let high = this.messages.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.messages[middle] as RecentMessage<T>).position <= position) low = middle + 1
      else high = middle
    }
    return this.messages.slice(low)
  }

  /** `earlier`: all after `from` and up to where this began. False, and nothing is taken, when that would be too much. */
  extend(from: number, earlier: readonly RecentMessage<T>[]): boolean {
    const bytes = earlier.reduce((sum, each) => sum + each.bytes, 0)
    if (this.messages.length + earlier.length > this.countMax || this.bytes + bytes > this.bytesMax)
      return false
    this.messages = [...earlier, ...this.messages]
    this.bytes += bytes
    this.since = from
    return true
  }
}
