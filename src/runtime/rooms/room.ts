/** One room on one node: who is in it here. Delivery is a walk over them with one message; who cannot take it says so itself. */
import type { Message } from './message.js'
import type { RoomLog } from './room-log.js'

/** A client or a program in a room. */
export interface Occupant {
  /** Null for programs: they are in no list. */
  readonly member: { readonly session: string; readonly user: string; readonly sinceMs: number } | null
  readonly wantsPresence: boolean
  /** With history: everything up to here was handed on. */
  position: number
  /** False while it is given what it missed; then what comes is found there too. */
  isLive: boolean
  readonly isGone: boolean
  /** False when it can take no more now; then it asks for the rest itself. */
  take(message: Message): boolean
}

/** Messages, since the start of the node. */
export interface DeliveryCounts {
  delivered: number
  /** A client was too slow for it, in a room without history. */
  missed: number
}

export class Room {
  readonly name: string
  readonly log: RoomLog | undefined
  private readonly counts: DeliveryCounts
  readonly occupants = new Set<Occupant>()
  clients = 0
  watchers = 0

  constructor(name: string, log: RoomLog | undefined, counts: DeliveryCounts) {
    this.name = name
    this.log = log
    this.counts = counts
  }

  add(occupant: Occupant): void {
    this.occupants.add(occupant)
    if (occupant.member !== null) this.clients++
    if (occupant.wantsPresence) this.watchers++
  }

  remove(occupant: Occupant): void {
    if (!this.occupants.delete(occupant)) return
    if (occupant.member !== null) this.clients--
    if (occupant.wantsPresence) this.watchers--
  }

  deliver(message: Message): void {
    const { position, except } = message
    for (const occupant of this.occupants) {
      if (position > 0 && (!occupant.isLive || position <= occupant.position)) continue
      if (except !== null && occupant.member !== null && except.includes(occupant.member.session)) {
        if (position > 0) occupant.position = position
      } else if (occupant.take(message)) {
        this.counts.delivered++
        if (position > 0) occupant.position = position
      } else if (position > 0) occupant.isLive = false
      else this.counts.missed++
    }
  }
}
