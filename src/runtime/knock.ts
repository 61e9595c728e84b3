/**
 * A node asks those it was told of whether they would have it, before it writes anything where others read: who is turned away leaves no trace. What a refusal means is the
 * caller's business.
 */
import type { Address } from '../core/kernel/brand.js'
import type { ConnectionEvent } from '../ports/transport.js'

/** Somebody who does not answer must not hold up the start of a node that has others, or none. */
const answerMsMax = 1_000

export class Knock {
  /** Resolves when all have answered, were not there, or had their time. */
  readonly isOver: Promise<void>
  private readonly expected: number
  private readonly up = new Set<Address>()
  private readonly down = new Set<Address>()
  end: () => void = () => {}

  constructor(expected: number) {
    this.expected = expected
    this.isOver = new Promise((resolve) => {
      const timer = setTimeout(resolve, expected === 0 ? 0 : answerMsMax)
      this.end = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Of every dial so far: until now only these were called. */
  take(event: ConnectionEvent): void {
    if (event.type === 'refused' || event.type === 'unreachable') this.down.add(event.address)
    // It goes by the name it gives itself, which need not be the one it was called by.
    else if (event.type === 'up' && !event.inbound) this.up.add(event.address)
    if (this.up.size + this.down.size >= this.expected) this.end()
  }
}
