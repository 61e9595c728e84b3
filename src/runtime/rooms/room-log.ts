/**
 * A room with history on a node that has somebody in it: follows the room's part of the journal and hands every message on, once and in order,
 * and gives those who come back what they missed. Messages come from the owner of the shard; what the follower finds missing is read.
 */
import { RecentMessages } from '../../core/rooms/recent-messages.js'
import { RoomFollower } from '../../core/rooms/room-follower.js'
import { pause } from '../pause.js'
import type { PushedMessage } from './frames.js'
import { Message, messageOfEvent } from './message.js'
import type { Occupant } from './room.js'

export interface LogPage {
  readonly events: readonly {
    readonly key: string
    readonly id: string
    readonly payload: string
    readonly offset: number
    readonly atMs: number
  }[]
  /** Everything up to here was looked at. */
  readonly scannedTo: number
  readonly end: boolean
  /** Why the newest may be missing. */
  readonly error?: string
}

export interface RoomLogWorld {
  /** Bounded over all rooms of the node. */
  read(room: string, after: number, limit: number): Promise<LogPage>
  deliver(message: Message): void
  /** It was given to somebody who caught up. */
  delivered(): void
  note(room: string, detail: string): void
}

const pageMax = 500
const retryMs = 100
const recentLimits = { countMax: 1_000, bytesMax: 1_048_576 }
/** Those who were away at the same time ask for nearly the same: one read serves them. */
const readAheadBy = 256

export class RoomLog {
  readonly room: string
  private readonly world: RoomLogWorld
  private follower: RoomFollower | undefined
  private recent: RecentMessages<Message> | undefined
  private heardEarly = 0
  private filling: Promise<void> | undefined
  private onReady: () => void = () => {}
  readonly ready: Promise<void>
  isClosed = false

  constructor(room: string, world: RoomLogWorld) {
    this.room = room
    this.world = world
    this.ready = new Promise((resolve) => {
      this.onReady = resolve
    })
  }

  /** Undefined until the owner was asked. */
  get position(): number | undefined {
    return this.follower?.position
  }

  /** The owner pushes from now on. The log of the shard ends at `end`; the room's last message is at `last` or before. */
  followed(end: number, last: number): void {
    if (this.follower !== undefined) {
      this.behind(last)
      return
    }
    this.follower = new RoomFollower(end)
    this.recent = new RecentMessages(end, recentLimits)
    this.onReady()
    this.behind(this.heardEarly)
  }

  pushed({ after, position, except, text }: PushedMessage): void {
    if (this.follower === undefined) {
      this.heardEarly = Math.max(this.heardEarly, position)
      return
    }
    const what = this.follower.pushed(after, position)
    // The text is a view of what came over the mesh, and may be kept for long.
    if (what === 'next') this.handOn(new Message(this.room, position, except, Buffer.from(text)))
    else if (what === 'read') void this.readOn()
  }

  behind(last: number): void {
    if (this.follower?.heardOf(last) === 'read') void this.readOn()
  }

  private handOn(message: Message): void {
    this.recent?.push({ position: message.position, bytes: message.text.length, item: message })
    this.world.deliver(message)
  }

  private async readOn(): Promise<void> {
    const follower = this.follower as RoomFollower
    for (;;) {
      const isWhole = await this.readToEnd(follower)
      if (this.isClosed || !follower.readEnded(isWhole)) return
      if (!isWhole) await pause(retryMs)
      if (this.isClosed) return
    }
  }

  private async readToEnd(follower: RoomFollower): Promise<boolean> {
    for (;;) {
      const page = await this.page(follower.position)
      if (this.isClosed || page === undefined) return false
      for (const event of page.events) {
        const message = messageOfEvent(event)
        if (follower.found(event.offset) && message !== undefined) this.handOn(message)
      }
      if (page.error !== undefined) return false
      if (page.end) return true
      follower.found(page.scannedTo)
    }
  }

  private async page(after: number): Promise<LogPage | undefined> {
    try {
      return await this.world.read(this.room, after, pageMax)
    } catch (error) {
      this.world.note(this.room, String(error))
      return undefined
    }
  }

  /**
   * Gives `occupant` everything after its position, then lets it go on with the others. `hasRoom` waits until it can take more; false when it is
   * gone.
   */
  async catchUp(occupant: Occupant, hasRoom: () => Promise<boolean>): Promise<void> {
    await this.ready
    while (!occupant.isGone && !this.isClosed) {
      if (!(await hasRoom())) return
      const recent = (this.recent as RecentMessages<Message>).after(occupant.position)
      if (recent !== undefined) {
        if (this.give(occupant, recent)) {
          occupant.isLive = true
          return
        }
      } else if (!(await this.fill(occupant.position))) await this.giveFromLog(occupant)
    }
  }

  /** False when it could not take all. */
  private give(occupant: Occupant, messages: readonly { readonly item: Message }[]): boolean {
    for (const { item } of messages) {
      if (item.position <= occupant.position) continue
      const isLeftOut = occupant.member !== null && item.except?.includes(occupant.member.session) === true
      if (!isLeftOut) {
        if (!occupant.take(item)) return false
        this.world.delivered()
      }
      occupant.position = item.position
    }
    return true
  }

  /** Makes the memory reach back to `position`. False when that is further than it goes. */
  private async fill(position: number): Promise<boolean> {
    const recent = this.recent as RecentMessages<Message>
    if (recent.size >= recentLimits.countMax / 2) return false
    if (this.filling !== undefined) {
      await this.filling
      return true
    }
    const from = Math.max(0, position - readAheadBy)
    const to = recent.from
    let isFilled = false
    this.filling = (async () => {
      const page = await this.page(from)
      if (page === undefined) {
        await pause(retryMs)
        isFilled = true
        return
      }
      const earlier = page.events
        .filter(({ offset }) => offset <= to)
        .flatMap((event) => messageOfEvent(event) ?? [])
        .map((item) => ({ position: item.position, bytes: item.text.length, item }))
      const isWhole = page.error === undefined && page.end
      const reached = isWhole || page.scannedTo >= to || (page.events.at(-1)?.offset ?? 0) >= to
      if (page.error !== undefined && !reached) {
        await pause(retryMs)
        isFilled = true
      } else if (reached && recent.from === to) isFilled = recent.extend(from, earlier)
      else isFilled = recent.from !== to
    })()
    try {
      await this.filling
    } finally {
      this.filling = undefined
    }
    return isFilled
  }

  /** One page for it alone: it was away for longer than the memory goes. */
  private async giveFromLog(occupant: Occupant): Promise<void> {
    const upTo = this.position ?? 0
    const page = await this.page(occupant.position)
    if (page === undefined || occupant.isGone) {
      if (page === undefined) await pause(retryMs)
      return
    }
    const messages = page.events.flatMap((event) => messageOfEvent(event) ?? [])
    const took = this.give(
      occupant,
      messages.map((item) => ({ item })),
    )
    if (page.error !== undefined) await pause(retryMs)
    else if (took) occupant.position = Math.max(occupant.position, page.end ? upTo : page.scannedTo)
  }

  close(): void {
    this.isClosed = true
  }
}
