/**
 * One owner and some processors in virtual time, over a network that delays, loses and repeats; processors freeze, die and fail. What they are all made of
 * is the product's own; what must not happen is looked for from outside.
 */
import { Random } from '../../src/core/kernel/random.js'
import { type Batch, Dealer, type Dealt } from '../../src/core/processing/dealer.js'
import { Hold } from '../../src/core/processing/hold.js'

interface Held {
  readonly processor: string
  readonly offsets: readonly number[]
  readonly keys: readonly string[]
  readonly hold: Hold
  isFinished: boolean
}

const leaseMs = 1_000
const keys = 12

/** What went wrong, in words; nothing where all is well. */
export function violationsOf(seed: number, options: { readonly isOrdered: boolean } = { isOrdered: true }) {
  return new World(seed, options.isOrdered).run()
}

class World {
  private readonly random: Random
  private readonly isOrdered: boolean
  private readonly queue: { atMs: number; n: number; run: () => void }[] = []
  private readonly found: string[] = []
  private readonly dealer: Dealer<Dealt>
  private readonly log: Dealt[] = []
  private readonly done = new Map<number, number>()
  private readonly lastOfKey = new Map<string, number>()
  private readonly held = new Set<Held>()
  private readonly frozenUntilMs = new Map<string, number>()
  private readonly cutUntilMs = new Map<string, number>()
  private readonly speed = new Map<string, number>()
  private readonly dead = new Set<string>()
  private nowMs = 0
  private n = 0
  private ids = 0
  private published = 0
  private savedPosition = 0
  private born = 0
  private isBad = true

  constructor(seed: number, isOrdered: boolean) {
    this.random = new Random(seed)
    this.isOrdered = isOrdered
    this.dealer = new Dealer(
      { batchMax: 4, batchBytesMax: 1_000, leaseMs, isOrdered, retryMinMs: 20, retryMaxMs: 200 },
      0,
      () => ++this.ids,
    )
  }

  run(): readonly string[] {
    for (let i = 0; i < 4; i++) this.birth()
    this.publish()
    this.check()
    this.until(20_000)
    this.isBad = false
    this.until(40_000)
    if (this.done.size !== this.log.length)
      this.found.push(`${this.log.length - this.done.size} of ${this.log.length} events were never done`)
    if (this.savedPosition !== this.log.length)
      this.found.push(`the position is ${this.savedPosition}, not ${this.log.length}`)
    return this.found
  }

  private at(inMs: number, run: () => void): void {
    this.queue.push({ atMs: this.nowMs + inMs, n: this.n++, run })
  }

  private until(endMs: number): void {
    for (;;) {
      let next = this.queue[0]
      for (const e of this.queue)
        if (next === undefined || e.atMs < next.atMs || (e.atMs === next.atMs && e.n < next.n)) next = e
      if (next === undefined || next.atMs > endMs) break
      this.queue.splice(this.queue.indexOf(next), 1)
      this.nowMs = next.atMs
      next.run()
    }
    this.nowMs = endMs
  }

  private publish(): void {
    const events = Array.from({ length: 1 + this.random.below(6) }, (): Dealt => {
      const offset = ++this.published
      return { offset, key: `k${this.random.below(keys)}`, bytes: 1 + this.random.below(600) }
    })
    this.log.push(...events)
    this.dealer.offer(events, this.published)
    // Read twice, as after a failed read.
    if (this.random.chance(0.1)) {
      const upTo = this.published
      this.at(this.random.between(0, 100), () => this.dealer.offer(events, upTo))
    }
    if (this.isBad) this.at(this.random.between(40, 200), () => this.publish())
  }

  private birth(): void {
    const name = `p${++this.born}`
    // Clocks that run at different speeds, by a tenth at most.
    this.speed.set(name, this.random.between(0.92, 1.08))
    this.at(1, () => this.ask(name))
  }

  /** What a processor reads on its clock. */
  private clock(name: string): number {
    return 5_000 + this.nowMs * (this.speed.get(name) as number)
  }

  private isFrozen(name: string): boolean {
    return (this.frozenUntilMs.get(name) ?? 0) > this.nowMs
  }

  /** Runs as soon as that process runs again; never if it is dead. */
  private inProcess(name: string, run: () => void): void {
    if (this.dead.has(name)) return
    const until = this.frozenUntilMs.get(name) ?? 0
    if (until > this.nowMs) this.at(until - this.nowMs, () => this.inProcess(name, run))
    else run()
  }

  /** Between that processor and the owner, either way. */
  private send(name: string, run: () => void): void {
    if (this.isBad && this.random.chance(0.08)) return
    if ((this.cutUntilMs.get(name) ?? 0) > this.nowMs) return
    this.at(this.delay(), run)
    if (this.isBad && this.random.chance(0.08)) this.at(this.delay(), run)
  }

  private delay(): number {
    return this.isBad && this.random.chance(0.15) ? this.random.between(0, 900) : this.random.between(1, 5)
  }

  private ask(name: string): void {
    this.inProcess(name, () => {
      if (this.isBad && this.random.chance(0.03)) {
        this.dead.add(name)
        this.endOf(name)
        this.at(this.random.between(50, 3_000), () => this.birth())
        return
      }
      const askedAtMs = this.clock(name)
      let isAnswered = false
      this.send(name, () =>
        this.answer(name, askedAtMs, (run) =>
          this.send(name, () => {
            // The second copy of an answer is nobody's any more.
            if (!isAnswered)
              this.inProcess(name, () => {
                if (isAnswered) return
                isAnswered = true
                run()
              })
          }),
        ),
      )
      // No answer: asked again, and whatever was lent in that answer comes back by itself.
      this.at(400, () =>
        this.inProcess(name, () => {
          if (isAnswered) return
          isAnswered = true
          this.ask(name)
        }),
      )
    })
  }

  /** The owner may learn for certain that a processor has ended; then its batches need not be waited for. */
  private endOf(name: string): void {
    if (this.random.chance(0.5))
      this.at(this.random.between(1, 300), () => this.dealer.release(this.nowMs, name))
  }

  private answer(name: string, askedAtMs: number, reply: (run: () => void) => void): void {
    const batch = this.dealer.take(this.nowMs, name, 1 + this.random.below(4))
    if (batch === undefined) reply(() => this.at(20, () => this.ask(name)))
    else reply(() => this.work(name, batch, askedAtMs))
  }

  private work(name: string, batch: Batch<Dealt>, askedAtMs: number): void {
    const hold = new Hold(askedAtMs, 0, leaseMs)
    if (!hold.isLive(this.clock(name))) {
      this.ask(name)
      return
    }
    const held: Held = {
      processor: name,
      offsets: batch.events.map((e) => e.offset),
      keys: batch.events.map((e) => e.key),
      hold,
      isFinished: false,
    }
    this.held.add(held)
    this.renew(held, batch.id)
    if (this.isBad && this.random.chance(0.05))
      this.frozenUntilMs.set(name, this.nowMs + this.random.between(100, 4_000))
    if (this.isBad && this.random.chance(0.1))
      this.at(this.random.between(0, 1_000), () =>
        this.cutUntilMs.set(name, this.nowMs + this.random.between(300, 4_000)),
      )
    const tookMs =
      this.isBad && this.random.chance(0.15) ? this.random.between(500, 4_000) : this.random.between(1, 60)
    this.at(tookMs, () =>
      this.inProcess(name, () => {
        held.isFinished = true
        this.held.delete(held)
        // A processor that lost its hold keeps its result to itself, unless it does not look.
        const isRude = this.random.chance(0.3)
        const failed = this.isBad && this.random.chance(0.1)
        if (hold.isLive(this.clock(name)) || isRude) this.send(name, () => this.settle(name, batch, failed))
        this.ask(name)
      }),
    )
  }

  private renew(held: Held, id: number): void {
    const { processor: name, hold } = held
    this.at(leaseMs / 4, () =>
      this.inProcess(name, () => {
        if (held.isFinished || !hold.isLive(this.clock(name))) return
        const askedAtMs = this.clock(name)
        this.send(name, () => {
          const ok = this.dealer.renew(this.nowMs, name, id)
          this.send(name, () =>
            this.inProcess(name, () => {
              if (ok) hold.renewed(this.clock(name), askedAtMs)
              else hold.end()
            }),
          )
        })
        this.renew(held, id)
      }),
    )
  }

  private settle(name: string, batch: Batch<Dealt>, failed: boolean): void {
    if (failed) {
      this.dealer.refuse(this.nowMs, name, batch.id)
      return
    }
    // A stale result: what it is about is with another processor now, or was done by one.
    const isOurs = this.dealer.acknowledge(this.nowMs, name, batch.id)
    if (!isOurs) return
    for (const { offset, key } of batch.events) {
      if (this.done.has(offset)) this.found.push(`event ${offset} was acknowledged twice`)
      this.done.set(offset, this.nowMs)
      const last = this.lastOfKey.get(key) ?? 0
      if (this.isOrdered && offset < last) this.found.push(`event ${offset} of ${key} was done after ${last}`)
      this.lastOfKey.set(key, Math.max(last, offset))
    }
  }

  /** Every millisecond. */
  private check(): void {
    const byOffset = new Map<number, string>()
    const byKey = new Map<string, Held>()
    for (const held of this.held) {
      const { processor, hold, offsets } = held
      // Who stands still does nothing, whatever it believes.
      if (this.dead.has(processor) || this.isFrozen(processor) || !hold.isLive(this.clock(processor)))
        continue
      for (const offset of offsets) {
        const other = byOffset.get(offset)
        if (other !== undefined)
          this.found.push(`event ${offset} is with ${other} and ${processor} at ${this.nowMs}`)
        byOffset.set(offset, processor)
      }
      if (this.isOrdered)
        for (const key of new Set(held.keys)) {
          const other = byKey.get(key)
          if (other !== undefined)
            this.found.push(`${key} is with ${other.processor} and ${processor} at ${this.nowMs}`)
          byKey.set(key, held)
        }
    }
    const { position } = this.dealer
    for (let offset = this.savedPosition + 1; offset <= position; offset++)
      if (!this.done.has(offset))
        this.found.push(`the position went to ${position} before ${offset} was done`)
    if (position < this.savedPosition) this.found.push('the position went back')
    this.savedPosition = Math.max(this.savedPosition, position)
    if (this.dealer.waiting < 0) this.found.push('less than nothing waits')
    if (this.found.length < 5) this.at(1, () => this.check())
  }
}
