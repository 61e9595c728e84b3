/**
 * The processor's side of a batch that is lent to it: until when it may believe that it has it. Counted from before it asked and for a part of the time
 * only, so that this belief ends before the owner's, whatever the network and the drift of two clocks do. Past the end nothing brings it back.
 */

/** Of the time that a batch is lent; the rest is for clocks that run at different speeds. */
const share = 0.8

export class Hold {
  private readonly leaseMs: number
  private deadline: number
  private isOver = false

  /** `askedAtMs`: before the batch was asked for. `keptMs`: how long the owner says that it kept the question until it had something. */
  constructor(askedAtMs: number, keptMs: number, leaseMs: number) {
    this.leaseMs = leaseMs
    this.deadline = askedAtMs + keptMs + share * leaseMs
  }

  get deadlineMs(): number {
    return this.deadline
  }

  isLive(nowMs: number): boolean {
    if (nowMs >= this.deadline) this.isOver = true
    return !this.isOver
  }

  /** The owner has extended it, asked at that time. */
  renewed(nowMs: number, askedAtMs: number): void {
    if (this.isLive(nowMs)) this.deadline = Math.max(this.deadline, askedAtMs + share * this.leaseMs)
  }

  /** The owner says that it is lent to this processor no more. */
  end(): void {
    this.isOver = true
  }
}
