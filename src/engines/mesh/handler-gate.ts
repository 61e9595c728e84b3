/**
 * How many requests of others are worked on at one time, over all connections. What comes above that waits on its
 * connection's lane, which the credit given to the other end bounds; lanes take turns, so a busy peer does not starve a
 * quiet one. A lane whose replies are not being read starts nothing new.
 */
import { Fifo } from './fifo.js'

export interface InboundRequest {
  readonly type: number
  readonly id: number
  readonly body: Uint8Array
}

export interface Lane {
  readonly waiting: Fifo<InboundRequest>
  /** In the gate's rotation now. */
  isInTurn: boolean
  /** False while the other end does not read its replies, and for ever once the connection is closed. */
  canStart(): boolean
  /** Begins work on one request; the gate was told. */
  begin(type: number, id: number, body: Uint8Array): void
}

export class HandlerGate {
  running = 0
  private readonly runningMax: number
  private turns = new Fifo<Lane>()
  private isPumping = false

  constructor(runningMax: number) {
    this.runningMax = runningMax
  }

  /** Begins the request or puts it on its lane. */
  admit(lane: Lane, type: number, id: number, body: Uint8Array): void {
    if (this.running < this.runningMax && lane.waiting.length === 0 && lane.canStart()) {
      this.running++
      lane.begin(type, id, body)
      return
    }
    // A copy, because a small body would keep the whole chunk it came in.
    lane.waiting.push({ type, id, body: Uint8Array.prototype.slice.call(body) })
    this.resume(lane)
  }

  /** A lane may be able to start again. */
  resume(lane: Lane): void {
    if (!lane.isInTurn && lane.waiting.length > 0) {
      lane.isInTurn = true
      this.turns.push(lane)
    }
    this.pump()
  }

  /** So many requests are answered, or given up with their connection. */
  release(count: number): void {
    this.running -= count
    if (this.turns.length > 0) this.pump()
  }

  private pump(): void {
    if (this.isPumping) return
    this.isPumping = true
    while (this.running < this.runningMax) {
      const lane = this.turns.shift()
      if (lane === undefined) break
      lane.isInTurn = false
      const request = lane.canStart() ? lane.waiting.shift() : undefined
      if (request === undefined) continue
      if (lane.waiting.length > 0) {
        lane.isInTurn = true
        this.turns.push(lane)
      }
      this.running++
      lane.begin(request.type, request.id, request.body)
    }
    this.isPumping = false
  }
}
