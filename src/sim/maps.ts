/**
 * Replicated maps in virtual time: real replicas and pulls over a network that loses, repeats, delays and splits, with clocks that differ and nodes
 * that begin anew. Oracles that know nothing of how it works watch: what a node saw vanish never comes back to it, what somebody who had seen it
 * overwrote or deleted is nowhere in the end, what nobody overwrote is everywhere, all nodes hold the same, deletes are forgotten, nothing from a clock
 * too far ahead is taken.
 */
import { HybridClock, hlcToText } from '../core/hlc/hlc.js'
import { isSkeinError } from '../core/kernel/error.js'
import { hash32 } from '../core/kernel/hash.js'
import { Random } from '../core/kernel/random.js'
import { counterValue, type Dot, type Entry, kindOf, liveDots } from '../core/maps/entry.js'
import { type MapLimits, mapLimits } from '../core/maps/limits.js'
import { type Partial, Pull } from '../core/maps/pull.js'
import { type Change, type Instant, Replica } from '../core/maps/replica.js'
import {
  bucketsAnswerWire,
  type Delta,
  deltasWire,
  digestAnswerWire,
  readBucketsAsk,
  readChunkAsk,
  readDeltas,
  readDigest,
} from '../core/maps/wire.js'

export type MapFault = 'loss' | 'partition' | 'long_partition' | 'restart' | 'skew'

export interface MapRun {
  readonly seed: number
  readonly nodes: number
  readonly seconds: number
  readonly faults: readonly MapFault[]
}

export interface MapReport {
  readonly violations: readonly string[]
  readonly writes: number
  readonly digest: number
}

const limits: MapLimits = {
  ...mapLimits,
  settleMs: 2_000,
  horizonMs: 20_000,
  largeBytes: 900,
  chunkBytes: 300,
  pageBytes: 2_000,
}
const valueKeys = ['a', 'b', 'c', 'd', 'e', 'f']
const rareKeys = ['u', 'v', 'w', 'x', 'y', 'z']
const counterKeys = ['n', 'm']
const setKeys = ['s', 't']
const maps = ['one', 'two']
const violationsMax = 20

interface SimNode {
  readonly id: string
  replica: Replica
  clock: HybridClock
  partials: Map<string, Partial>
  boot: number
  aheadMs: number
  pull: Pull | undefined
  /** Writes that this boot saw go. */
  gone: Set<string>
  live: Map<string, Set<string>>
}

export function simulateMaps(run: MapRun): MapReport {
  return new MapSimulation(run).run()
}

function nameOf({ actor, seq }: Dot): string {
  return `${actor} ${seq}`
}

class MapSimulation {
  private readonly options: MapRun
  private readonly random: Random
  private readonly nodes: SimNode[]
  private readonly queue: { atMs: number; order: number; act: () => void }[] = []
  private order = 0
  private nowMs = 1_000_000
  private sides: readonly number[] | undefined
  private isCalm = false
  private hadRestart = false
  private readonly violations: string[] = []
  private writes = 0
  /** Overwritten or deleted by somebody who had seen it, and by which write. */
  private readonly dead = new Map<string, string>()
  /** Processes that a write reached as it was made. */
  private readonly holders = new Map<string, Set<SimNode>>()
  /** By map and key: the latest write of a plain key; sums of counters and elements of sets, while nothing made them uncertain. */
  private readonly latest = new Map<string, { stamp: string; actor: string; text: string | null }>()
  private readonly sums = new Map<string, number | undefined>()
  /** What was added after each delete of a counter by those who had seen it. */
  private readonly generations = new Map<string, number>()

  constructor(options: MapRun) {
    this.options = options
    this.random = new Random(options.seed)
    this.nodes = Array.from({ length: options.nodes }, (_, i) => this.boot(`node-${i + 1}`, 0))
  }

  run(): MapReport {
    const { seconds, faults } = this.options
    const endMs = this.nowMs + seconds * 1_000
    if (faults.includes('skew')) (this.nodes[0] as SimNode).aheadMs = 1_500
    this.nodes.forEach((_, i) => {
      this.later(50, () => this.work(i))
      this.later(this.random.between(100, 1_000), () => this.startPull(i))
      this.later(1_000, () => this.sweep(i))
    })
    this.later(2_000, () => this.fault())
    this.drain(endMs)
    this.isCalm = true
    this.sides = undefined
    for (const node of this.nodes) node.aheadMs = Math.min(node.aheadMs, 100)
    // Everybody pulls from everybody many times, and all deletes grow old enough.
    this.drain(endMs + 60_000)
    this.judge()
    return {
      violations: this.violations,
      writes: this.writes,
      digest: hash32(this.pictureOf(this.nodes[0] as SimNode)),
    }
  }

  private boot(id: string, boot: number): SimNode {
    const clock = new HybridClock({ tag: hash32(`${id}/${boot}`), skewMsMax: 500, ceilingMs: 0 })
    clock.raiseCeiling(2 ** 47)
    return {
      id,
      boot,
      replica: new Replica(id, limits),
      clock,
      partials: new Map(),
      aheadMs: this.random.between(-100, 100),
      pull: undefined,
      gone: new Set(),
      live: new Map(),
    }
  }

  // --- time and network ------------------------------------------------------------------------------------------------------

  private later(inMs: number, act: () => void): void {
    this.queue.push({ atMs: this.nowMs + inMs, order: this.order++, act })
  }

  private drain(untilMs: number): void {
    while (this.violations.length < violationsMax) {
      let first = 0
      for (let i = 1; i < this.queue.length; i++) {
        const [a, b] = [this.queue[i], this.queue[first]] as [(typeof this.queue)[0], (typeof this.queue)[0]]
        if (a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)) first = i
      }
      const event = this.queue[first]
      if (event === undefined || event.atMs > untilMs) break
      this.queue.splice(first, 1)
      this.nowMs = Math.max(this.nowMs, event.atMs)
      event.act()
    }
    this.nowMs = Math.max(this.nowMs, untilMs)
  }

  private isCut(from: number, to: number): boolean {
    return this.sides !== undefined && this.sides[from] !== this.sides[to]
  }

  /** Now and then never, twice, or late. */
  private send(from: number, to: number, deliver: () => void): void {
    if (this.isCut(from, to)) return
    const isLossy = !this.isCalm && this.options.faults.includes('loss')
    if (isLossy && this.random.chance(0.2)) return
    const copies = isLossy && this.random.chance(0.2) ? 2 : 1
    const boot = this.nodes[to]?.boot
    for (let i = 0; i < copies; i++)
      this.later(
        isLossy && this.random.chance(0.05) ? this.random.between(1_000, 9_000) : this.random.between(1, 60),
        () => {
          if (this.nodes[to]?.boot === boot) deliver()
        },
      )
  }

  private wallMs(node: SimNode): number {
    return this.nowMs + node.aheadMs
  }

  private instant(node: SimNode): Instant {
    const wallMs = this.wallMs(node)
    return { wallMs, stamp: () => hlcToText(node.clock.now(wallMs)) }
  }

  private fault(): void {
    const { faults } = this.options
    const { random } = this
    const kinds = faults.filter((f) => f !== 'loss' && f !== 'skew')
    if (this.isCalm || kinds.length === 0) return
    const kind = random.pick(kinds) as MapFault
    let forMs = random.between(500, 6_000)
    if (kind === 'restart') {
      const at = random.below(this.nodes.length)
      const old = this.nodes[at] as SimNode
      this.hadRestart = true
      this.nodes[at] = this.boot(old.id, old.boot + 1)
      for (const other of this.nodes) other.replica.forget(old.id)
    } else {
      this.sides = this.nodes.map(() => random.below(2))
      if (kind === 'long_partition') forMs = limits.horizonMs + random.between(5_000, 20_000)
    }
    this.later(forMs, () => {
      this.sides = undefined
      this.later(random.between(500, 4_000), () => this.fault())
    })
  }

  // --- writers ---------------------------------------------------------------------------------------------------------------

  private work(i: number): void {
    if (this.isCalm) return
    // Now and then a node writes nothing for a while, so that others' writes stand.
    const isQuiet = this.random.chance(0.02)
    this.later(isQuiet ? this.random.between(5_000, 25_000) : this.random.between(20, 400), () =>
      this.work(i),
    )
    const node = this.nodes[i] as SimNode
    const map = this.random.pick(maps) as string
    const chance = this.random.float()
    try {
      const plain = this.random.chance(0.04) ? rareKeys : valueKeys
      if (chance < 0.6) this.writeValue(i, node, map, this.random.pick(plain) as string)
      else if (chance < 0.8) this.writeCounter(i, node, map, this.random.pick(counterKeys) as string)
      else this.writeSet(i, node, map, this.random.pick(setKeys) as string)
    } catch (error) {
      if (!isSkeinError(error) || error.code !== 'clock_skew') throw error
    }
  }

  private writeValue(i: number, node: SimNode, map: string, key: string): void {
    const isDelete = this.random.chance(0.4)
    const filler = this.random.chance(0.1) ? 'x'.repeat(400 + this.random.below(1_500)) : ''
    const text = JSON.stringify(`${node.id}.${node.boot}.${this.writes}${filler}`)
    const before = node.replica.slots.get(map, key)?.entry
    const written = isDelete
      ? node.replica.delete(this.instant(node), map, key)
      : node.replica.set(this.instant(node), map, key, text)
    if (written === undefined) return
    this.kill(before, written.delta)
    const { entry } = written.change
    const top = isDelete ? { ...written.delta, stamp: entry.floor, text: null } : entry.values[0]
    const place = `${map}/${key}`
    const last = this.latest.get(place)
    if (top !== undefined && (last === undefined || [last.stamp, last.actor] < [top.stamp, top.actor]))
      this.latest.set(place, { stamp: top.stamp, actor: top.actor, text: top.text })
    this.written(i, node, written)
  }

  private writeCounter(i: number, node: SimNode, map: string, key: string): void {
    const place = `${map}/${key}`
    if (key === 'm' && this.random.chance(0.15)) {
      const before = node.replica.slots.get(map, key)?.entry
      const written = node.replica.delete(this.instant(node), map, key)
      if (written === undefined) return
      this.kill(before, written.delta)
      this.sums.set(place, undefined)
      this.written(i, node, written)
      return
    }
    const by = this.random.below(9) - 3
    const written = node.replica.add(this.instant(node), map, key, by)
    const generation = `${place}/${written.change.entry.floor}`
    this.generations.set(generation, (this.generations.get(generation) ?? 0) + by)
    // A process counts in one cell: its former content is in the new one.
    const own = written.delta.actor
    for (const dot of this.liveAt(node, map, key))
      if (dot.startsWith(`${own} `)) this.dead.set(dot, nameOf(written.delta))
    if (!this.sums.has(place)) this.sums.set(place, 0)
    const sum = this.sums.get(place)
    if (sum !== undefined) this.sums.set(place, sum + by)
    this.written(i, node, written)
  }

  private writeSet(i: number, node: SimNode, map: string, key: string): void {
    const element = JSON.stringify(this.random.below(6))
    const before = node.replica.slots.get(map, key)?.entry
    const chance = this.random.float()
    const written =
      chance < 0.5
        ? node.replica.change(this.instant(node), map, key, [element], [])
        : chance < 0.9 || key === 's'
          ? node.replica.change(this.instant(node), map, key, [], [element])
          : node.replica.delete(this.instant(node), map, key)
    if (written === undefined) return
    for (const [of, dots] of before?.set ?? [])
      if (of === element || chance >= 0.9)
        if (!(key === 's' && of !== element))
          for (const dot of dots) this.dead.set(nameOf(dot), nameOf(written.delta))
    this.written(i, node, written)
  }

  private kill(before: Entry | undefined, by: Dot): void {
    if (before !== undefined) for (const dot of liveDots(before)) this.dead.set(nameOf(dot), nameOf(by))
  }

  private written(i: number, node: SimNode, { delta, change }: { delta: Delta; change: Change }): void {
    this.writes++
    this.watch(node, change)
    const holders = new Set([node])
    this.holders.set(nameOf(delta), holders)
    const wire = deltasWire([delta])
    const from = this.nodes[i] as SimNode
    for (let to = 0; to < this.nodes.length; to++)
      if (to !== i)
        this.send(i, to, () => {
          const there = this.nodes[to] as SimNode
          const deltas = readDeltas(wire, limits)
          if (deltas === undefined) return this.violation(`a delta of ${from.id} cannot be read`)
          const taken = there.replica.receive(this.wallMs(there), deltas)
          if (taken.changes.length > 0) holders.add(there)
          for (const each of taken.changes) this.watch(there, each)
        })
  }

  // --- catching up -----------------------------------------------------------------------------------------------------------

  private startPull(i: number): void {
    this.later(this.random.between(300, 1_200), () => this.startPull(i))
    const others = this.nodes.map((_, at) => at).filter((at) => at !== i && !this.isCut(i, at))
    const from = this.random.pick(others)
    if (from === undefined) return
    const node = this.nodes[i] as SimNode
    const pull = new Pull(node.replica, (this.nodes[from] as SimNode).id, limits.valueBytesMax, node.partials)
    node.pull = pull
    this.go(i, from, pull)
  }

  private go(i: number, from: number, pull: Pull): void {
    const node = this.nodes[i] as SimNode
    const other = this.nodes[from] as SimNode
    if (node.pull !== pull) return
    const ask = pull.next()
    if (ask === undefined) return
    let isAnswered = false
    this.send(i, from, () => {
      if (this.nodes[from] !== other) return
      const answer = this.answer(other, node.id, ask.kind, ask.body)
      this.send(from, i, () => {
        if (isAnswered || node.pull !== pull || this.nodes[i] !== node) return
        isAnswered = true
        const pulled = pull.receive(this.wallMs(node), answer)
        if (pulled === undefined) {
          this.violation(`${node.id} cannot read what ${other.id} answered to ${ask.kind}`)
          return
        }
        for (const change of pulled.changes) this.watch(node, change)
        this.go(i, from, pull)
      })
    })
  }

  private answer(node: SimNode, asker: string, kind: string, body: unknown): unknown {
    const { replica } = node
    if (kind === 'digest') {
      const digest = readDigest(body)
      if (digest === undefined) return null
      replica.hear(asker, digest)
      return digestAnswerWire(replica.digest(), replica.differing(digest))
    }
    if (kind === 'buckets') {
      const ask = readBucketsAsk(body)
      return ask === undefined ? null : bucketsAnswerWire(replica.answerBuckets(asker, ask))
    }
    const ask = readChunkAsk(body)
    const chunk = ask === undefined ? null : replica.answerChunk(ask)
    return chunk === null ? null : [chunk.sum, chunk.length, chunk.offset, chunk.bytes]
  }

  private sweep(i: number): void {
    this.later(1_000, () => this.sweep(i))
    const node = this.nodes[i] as SimNode
    node.replica.sweep(
      this.wallMs(node),
      this.nodes.map(({ id }) => id),
    )
  }

  // --- oracles ---------------------------------------------------------------------------------------------------------------

  private violation(detail: string): void {
    if (this.violations.length < violationsMax) this.violations.push(`at ${this.nowMs}: ${detail}`)
  }

  private liveAt(node: SimNode, map: string, key: string): ReadonlySet<string> {
    return node.live.get(`${map}/${key}`) ?? new Set()
  }

  private watch(node: SimNode, { map, key, entry, origin }: Change): void {
    const place = `${map}/${key}`
    const before = node.live.get(place) ?? new Set<string>()
    const now = new Set([...liveDots(entry)].map(nameOf))
    for (const dot of before) if (!now.has(dot)) node.gone.add(dot)
    for (const dot of now)
      if (node.gone.has(dot))
        this.violation(`${dot} came back to ${node.id} at ${place}, which had seen it go`)
    node.live.set(place, now)
    const aheadMs = Number.parseInt(entry.stamp.slice(0, 12), 16) - this.wallMs(node)
    if (origin === 'remote' && !this.isCalm && aheadMs > limits.skewMsMax)
      this.violation(`${node.id} took a write from ${Math.round(aheadMs)} ms ahead`)
    if (origin === 'remote') {
      const { wallMs } = { wallMs: this.wallMs(node) }
      const t = entry.stamp
      node.clock.receive(
        {
          wallMs: Number.parseInt(t.slice(0, 12), 16),
          counter: Number.parseInt(t.slice(12, 16), 16),
          tag: Number.parseInt(t.slice(16), 16),
        },
        wallMs,
      )
    }
  }

  private pictureOf({ replica }: SimNode): string {
    const lines: string[] = []
    for (const map of maps)
      for (const [key, e] of replica.entries(map)) {
        const sets = [...e.set].map(
          ([element, dots]) => `${element}:${dots.map((d) => `${d.actor} ${d.seq}`).sort()}`,
        )
        const values = e.values.map((v) => `${v.stamp}${v.text}`)
        lines.push(`${map}/${key} ${kindOf(e)} ${values} ${counterValue(e)} ${sets.sort()}`)
      }
    return lines.sort().join('\n')
  }

  private judge(): void {
    const [first, ...others] = this.nodes as [SimNode, ...SimNode[]]
    const picture = this.pictureOf(first)
    const sums = String(first.replica.digest().sums)
    for (const other of others)
      if (String(other.replica.digest().sums) !== sums)
        this.violation(`${other.id} and ${first.id} go on comparing`)
    for (const other of others)
      if (this.pictureOf(other) !== picture) this.violation(`${other.id} and ${first.id} differ in the end`)
    for (const node of this.nodes) {
      for (const map of maps) {
        if (node.replica.slots.sizeOf(map).gone > 0)
          this.violation(
            `${node.id} still remembers ${node.replica.slots.sizeOf(map).gone} deletes of ${map}`,
          )
        for (const [key, entry] of node.replica.entries(map))
          for (const dot of liveDots(entry))
            if (this.isDead(nameOf(dot)))
              this.violation(
                `${node.id} holds ${nameOf(dot)} at ${map}/${key}, which was overwritten or deleted`,
              )
      }
      this.recount(node)
    }
    if (!this.hadRestart) this.judgeExactly(first)
  }

  /** A write that was lost with its process, before anybody else had it, has overwritten nothing. */
  private isDead(dot: string): boolean {
    const by = this.dead.get(dot)
    return by !== undefined && [...(this.holders.get(by) ?? [])].some((node) => this.nodes.includes(node))
  }

  /** What is counted as it changes is what is there. */
  private recount(node: SimNode): void {
    const { slots } = node.replica
    let bytes = 0
    for (const slot of slots.all()) bytes += slot.bytes
    if (bytes !== slots.bytes) this.violation(`${node.id} counts ${slots.bytes} bytes where ${bytes} are`)
  }

  /** Nothing was lost with a process: then the outcome is known to the last word. */
  private judgeExactly(node: SimNode): void {
    const wasLong = this.options.faults.includes('long_partition')
    for (const [place, { text }] of this.latest) {
      // Past the horizon, an older write that nobody had seen may be taken as new.
      if (wasLong && text === null) continue
      const [map, key] = place.split('/') as [string, string]
      const found = node.replica.get(map, key)?.values[0]?.text ?? null
      if (found !== text)
        this.violation(`${place} ends as ${found?.slice(0, 30)}, last written was ${text?.slice(0, 30)}`)
    }
    for (const [place, all] of this.sums) {
      const [map, key] = place.split('/') as [string, string]
      const entry = node.replica.get(map, key)
      // Deleted once: what counts was added since. Where even the delete is forgotten, there is nothing to tell it by.
      const sum =
        entry === undefined || entry.floor === '' ? all : this.generations.get(`${place}/${entry.floor}`)
      if (sum === undefined) continue
      const found = entry === undefined ? 0 : counterValue(entry)
      if (found !== sum) this.violation(`${place} counts ${found}, ${sum} were added`)
    }
  }
}
