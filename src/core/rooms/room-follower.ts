/**
 * A node's place in one room's log: everything up to `position` was handed on, each message once and in order. Messages are pushed by whoever owns
 * the room's shard, each with a position before which it has no neighbour; where that is beyond ours something was lost on the way, and the log is
 * read. While it is read, pushed messages are only noted: the log has them.
 *
 * Whoever asks for a read must do it, and say with `readEnded` whether it got to the end of the log; a push may be lost, repeated or late.
 */
export type Pushed =
  /** The next message: hand it on. */
  | 'next'
  /** Handed on before. */
  | 'known'
  /** Begin a read after `position`. */
  | 'read'
  /** A read is under way and will find it. */
  | 'later'

export class RoomFollower {
  private at: number
  /** There is something up to here. */
  private wanted: number
  private aim = 0
  private reading = false

  constructor(position: number) {
    this.at = position
    this.wanted = position
  }

  get position(): number {
    return this.at
  }

  get isReading(): boolean {
    return this.reading
  }

  pushed(after: number, position: number): Pushed {
    if (position <= this.at) return 'known'
    if (!this.reading && after <= this.at) {
      this.at = position
      return 'next'
    }
    return this.heardOf(position)
  }

  /** Somebody who should know says that there are messages up to `position`, or may be. */
  heardOf(position: number): Exclude<Pushed, 'next'> {
    if (position <= this.at) return 'known'
    this.wanted = Math.max(this.wanted, position)
    if (this.reading) return 'later'
    this.beginRead()
    return 'read'
  }

  /** False for a message that was handed on before. */
  found(position: number): boolean {
    if (position <= this.at) return false
    this.at = position
    return true
  }

  /**
   * `isWhole`: it got to the end of the log, so all that was heard of before it began is ours now. Returns whether to read again.
   */
  readEnded(isWhole: boolean): boolean {
    if (isWhole) this.at = Math.max(this.at, this.aim)
    this.reading = false
    if (this.wanted <= this.at) return false
    this.beginRead()
    return true
  }

  private beginRead(): void {
    this.reading = true
    this.aim = this.wanted
  }
}
