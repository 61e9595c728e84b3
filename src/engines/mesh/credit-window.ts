/**
 * The requests that one connection has sent and that are not answered, within the credit the other end gave. A request
 * whose caller gave up keeps its place until the reply comes: the other end is still at work on it.
 */
import type { Credit } from './greeting.js'
import type { PendingRequest } from './pending-request.js'

const slotBits = 16
const slotMask = (1 << slotBits) - 1

export class CreditWindow {
  unanswered = 0
  unansweredBytes = 0
  private readonly credit: Credit
  private readonly slots: (PendingRequest | undefined)[] = []
  private readonly free: number[] = []
  private generation = 0

  constructor(credit: Credit) {
    this.credit = credit
  }

  /** Whether a request of so many bytes may be sent now. */
  allows(bodyBytes: number): boolean {
    return (
      this.unanswered === 0 ||
      (this.unanswered < this.credit.requestsMax &&
        this.unansweredBytes + bodyBytes <= this.credit.requestBytesMax)
    )
  }

  /** Names the request; ids come back only after 65,536 others, so that a stray reply meets nobody. */
  enter(request: PendingRequest): void {
    const slot = this.free.pop() ?? this.slots.length
    this.generation = (this.generation + 1) & slotMask
    request.id = ((this.generation << slotBits) | slot) >>> 0
    this.slots[slot] = request
    this.unanswered++
    this.unansweredBytes += request.bodyBytes
  }

  /** The request a reply belongs to, now answered. */
  leave(id: number): PendingRequest | undefined {
    const slot = id & slotMask
    const request = this.slots[slot]
    if (request === undefined || request.id !== id) return undefined
    this.slots[slot] = undefined
    this.free.push(slot)
    this.unanswered--
    this.unansweredBytes -= request.bodyBytes
    return request
  }

  /** Whether every place is taken by a request whose caller has given up: the other end answers nothing. */
  isStuck(): boolean {
    return this.unanswered >= this.credit.requestsMax && this.slots.every((r) => r?.isSettled !== false)
  }

  /** Everything unanswered, taken out. */
  drain(): PendingRequest[] {
    const all = this.slots.filter((request) => request !== undefined)
    this.slots.length = 0
    this.free.length = 0
    this.unanswered = 0
    this.unansweredBytes = 0
    return all
  }
}
