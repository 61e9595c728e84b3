/**
 * Virtual time: a heap of events, one random generator, and a digest of everything that happened. The same seed gives the
 * same run to the last event; nothing in a simulation reads a real clock.
 */
import { hash32, mix32 } from '../core/kernel/hash.js'
import { Random } from '../core/kernel/random.js'

interface Scheduled {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class Scheduler {
  readonly random: Random
  nowMs = 0
  eventCount = 0
  /** Somebody awaits what the current event settled: `play` lets promises run before it goes on. */
  hasSettled = false
  isOver = false
  private readonly heap: Scheduled[] = []
  private order = 0
  private digestState = 0

  constructor(seed: number) {
    this.random = new Random(seed)
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + Math.max(0, delayMs), run)
  }

  at(atMs: number, run: () => void): void {
    const item: Scheduled = { atMs: Math.max(atMs, this.nowMs), order: this.order++, run }
    const { heap } = this
    let i = heap.push(item) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(item, heap[parent] as Scheduled)) break
      heap[i] = heap[parent] as Scheduled
      i = parent
    }
    heap[i] = item
  }

  /** Runs everything up to that time. For clusters without handlers: no promise gets its turn meanwhile. */
  runUntil(atMs: number): void {
    while (this.runNext(atMs)) {}
  }

  /** The same, and whenever an event settled promises, all that follows from them happens before the next event. */
  async play(atMs: number): Promise<void> {
    for (;;) {
      if (this.hasSettled) {
        this.hasSettled = false
        await turnOfPromises()
      } else if (!this.runNext(atMs)) return
    }
  }

  /** Nothing happens any more, and time stands still. */
  end(): void {
    this.isOver = true
  }

  private runNext(atMs: number): boolean {
    if (this.isOver) return false
    const next = this.heap[0]
    if (next === undefined || next.atMs > atMs) {
      this.nowMs = atMs
      return false
    }
    this.pop()
    this.nowMs = next.atMs
    this.eventCount++
    next.run()
    return true
  }

  /** Adds a fact to the run's digest. */
  trace(text: string): void {
    this.digestState = mix32(this.digestState ^ hash32(`${this.nowMs.toFixed(3)} ${text}`))
  }

  digest(): string {
    return this.digestState.toString(16).padStart(8, '0')
  }

  private pop(): void {
    const { heap } = this
    const last = heap.pop() as Scheduled
    if (heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1] as Scheduled, heap[child] as Scheduled)) child++
      if (!before(heap[child] as Scheduled, last)) break
      heap[i] = heap[child] as Scheduled
      i = child
    }
    heap[i] = last
  }
}

/** Every promise that can go on does so before a macrotask runs. */
function turnOfPromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function before(a: Scheduled, b: Scheduled): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
