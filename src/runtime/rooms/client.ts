/**
 * A connected client: the rooms it is in, and the way out to it. What it does not read is bounded: of rooms without history messages are passed
 * over and counted, in rooms with history it is given the rest when it reads again, and who does not read at all is cut off.
 */
import { monotonicMs } from '../host-clock.js'
import type { Broadcasted, BroadcastOptions, Joined, JoinInput, RoomClient, RoomSink } from './api-types.js'
import type { MemberRow } from './frames.js'
import { jsonFrame, type Message } from './message.js'
import type { Occupant, Room } from './room.js'

/** Written to it and not taken by the kernel. */
export const bufferedBytesMax = 1_048_576
const stuckMsMax = 30_000

export const closeCodes = { goingAway: 1001, taken: 4001, tooSlow: 4002 } as const

export interface ClientWorld {
  join(client: Client, input: JoinInput): Promise<Joined>
  leave(client: Client, room: string): void
  broadcast(client: Client, room: string, data: unknown, options: BroadcastOptions): Promise<Broadcasted>
  gone(client: Client): void
  /** It did not read for too long and is cut off. */
  tooSlow(): void
}

/** It in one room. */
export class ClientPlace implements Occupant {
  readonly client: Client
  readonly room: Room
  readonly member: MemberRow
  readonly wantsPresence: boolean
  position: number
  isLive: boolean
  hasLeft = false
  private isCatchingUp = false

  constructor(client: Client, room: Room, options: { wantsPresence: boolean; position: number }) {
    this.client = client
    this.room = room
    this.member = { session: client.session, user: client.user, sinceMs: Date.now() }
    this.wantsPresence = options.wantsPresence
    this.position = options.position
    this.isLive = false
  }

  get isGone(): boolean {
    return this.hasLeft || this.client.isGone
  }

  take(message: Message): boolean {
    if (this.client.write(message.frame)) return true
    if (message.position === 0) this.client.missed++
    else if (!this.isCatchingUp) queueMicrotask(() => this.catchUp())
    return false
  }

  /** From where it is, as fast as it reads. */
  catchUp(): void {
    const { log } = this.room
    if (log === undefined || log.isClosed || this.isCatchingUp || this.isGone) return
    this.isCatchingUp = true
    void log
      .catchUp(this, () => this.client.hasRoom())
      .finally(() => {
        this.isCatchingUp = false
        if (!this.isLive) this.catchUp()
      })
  }
}

export class Client implements RoomClient {
  readonly session: string
  readonly user: string
  readonly mayBroadcast: boolean
  readonly sinceMs = Date.now()
  readonly places = new Map<string, ClientPlace>()
  missed = 0
  isGone = false
  private readonly sink: RoomSink
  private readonly world: ClientWorld
  private fullSinceMs = 0
  private waiting: ((isThere: boolean) => void)[] = []

  constructor(
    facts: { readonly session: string; readonly user: string; readonly mayBroadcast: boolean },
    sink: RoomSink,
    world: ClientWorld,
  ) {
    this.session = facts.session
    this.user = facts.user
    this.mayBroadcast = facts.mayBroadcast
    this.sink = sink
    this.world = world
  }

  /** False, and nothing is written, when too much waits. */
  write(frame: Uint8Array): boolean {
    const { sink } = this
    if (sink.bufferedBytes > bufferedBytesMax || this.isGone) {
      if (this.fullSinceMs === 0) this.fullSinceMs = monotonicMs()
      return false
    }
    sink.write(frame)
    return true
  }

  /** An answer, however full it is: nobody gets more of them than it asks for, and nothing is read from who does not read. */
  tell(value: unknown): void {
    if (!this.isGone) this.sink.write(jsonFrame(value))
  }

  /** Resolves when half of what may wait is free, false when it is gone. */
  hasRoom(): Promise<boolean> {
    if (this.isGone) return Promise.resolve(false)
    if (this.sink.bufferedBytes <= bufferedBytesMax / 2) return Promise.resolve(true)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  drained(): void {
    this.fullSinceMs = 0
    if (this.missed > 0 && this.write(jsonFrame({ type: 'lagged', missed: this.missed }))) this.missed = 0
    for (const resolve of this.waiting.splice(0)) resolve(true)
  }

  /** Every second: who has not read for long goes. */
  check(): void {
    if (this.fullSinceMs === 0 || monotonicMs() - this.fullSinceMs <= stuckMsMax) return
    this.world.tooSlow()
    this.end(closeCodes.tooSlow, `nothing was read for ${stuckMsMax / 1_000} s`)
  }

  end(code: number, reason: string): void {
    this.sink.close(code, reason)
    this.closed()
  }

  closed(): void {
    if (this.isGone) return
    this.isGone = true
    for (const resolve of this.waiting.splice(0)) resolve(false)
    this.world.gone(this)
  }

  join(input: JoinInput): Promise<Joined> {
    return this.world.join(this, input)
  }

  leave(room: string): void {
    this.world.leave(this, room)
  }

  broadcast(room: string, data: unknown, options: BroadcastOptions): Promise<Broadcasted> {
    return this.world.broadcast(this, room, data, options)
  }
}
