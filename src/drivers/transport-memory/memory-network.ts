/**
 * A network inside one process, for tests: both transports over it, and the faults to try them with: partitions, loss,
 * delay, crashes. Time and chance are injected, so a test may own both. Nothing is encrypted and nothing is copied to
 * disk; what real sockets do (handshakes, cookies, backpressure of a kernel) must not be imitated here.
 */
import type { Address } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { MemoryDatagramTransport } from './memory-datagram-transport.js'
import type { MemoryFrameTransport } from './memory-frame-transport.js'

export interface MemoryTimers {
  nowMs(): number
  setTimer(run: () => void, delayMs: number): unknown
  clearTimer(timer: unknown): void
}

export interface MemoryNetworkOptions {
  /** Default: the process's own. */
  readonly timers?: MemoryTimers
  /** 0 up to 1; decides which datagrams are lost. */
  readonly random?: () => number
}

const processTimers: MemoryTimers = {
  nowMs: () => Date.now(),
  setTimer: (run, delayMs) => setTimeout(run, delayMs),
  clearTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
}

export class MemoryNetwork {
  readonly timers: MemoryTimers
  /** One way, for both kinds, in ms. 0 delivers in a microtask. */
  delayMs = 0
  /** Share of datagrams that are lost, 0 to 1. */
  dropRate = 0
  /** Share of datagrams that arrive twice, 0 to 1. */
  doubleRate = 0
  private readonly random: () => number
  private readonly frames = new Map<Address, MemoryFrameTransport>()
  private readonly datagrams = new Map<Address, MemoryDatagramTransport>()
  private readonly cuts = new Set<string>()
  private nextPort = 1

  constructor(options: MemoryNetworkOptions = {}) {
    this.timers = options.timers ?? processTimers
    this.random = options.random ?? Math.random
  }

  /** Nothing passes between the two any more, either way; connections neither end nor open. */
  partition(a: Address, b: Address): void {
    this.cuts.add(pair(a, b))
  }

  heal(a: Address, b: Address): void {
    this.cuts.delete(pair(a, b))
    this.frames.get(a)?.healed(b)
    this.frames.get(b)?.healed(a)
  }

  isCut(a: Address, b: Address): boolean {
    return this.cuts.has(pair(a, b))
  }

  /** Ends a frame transport as a killed process would: no goodbye, then nobody listens. */
  crash(address: Address): void {
    const transport = this.frames.get(address)
    this.frames.delete(address)
    transport?.crashed()
  }

  /** Runs `deliver` after the delay, in the order of the calls. */
  later(deliver: () => void): void {
    if (this.delayMs === 0) queueMicrotask(deliver)
    else this.timers.setTimer(deliver, this.delayMs)
  }

  // For the transports.

  bind(kind: 'frames', transport: MemoryFrameTransport, wanted: Address | undefined): Address
  bind(kind: 'datagrams', transport: MemoryDatagramTransport, wanted: Address | undefined): Address
  bind(
    kind: 'frames' | 'datagrams',
    transport: MemoryFrameTransport | MemoryDatagramTransport,
    wanted: Address | undefined,
  ): Address {
    const address = wanted ?? `memory:${this.nextPort++}`
    const table: Map<Address, MemoryFrameTransport | MemoryDatagramTransport> = this[kind]
    if (table.has(address))
      throw new SkeinError('port_in_use', `${address} is in use`, { details: { address } })
    table.set(address, transport)
    return address
  }

  unbind(kind: 'frames' | 'datagrams', address: Address): void {
    this[kind].delete(address)
  }

  listenerAt(address: Address): MemoryFrameTransport | undefined {
    return this.frames.get(address)
  }

  /** False when it is lost on the way. */
  carryDatagram(from: Address, to: Address, datagram: Uint8Array): boolean {
    if (this.isCut(from, to) || this.random() < this.dropRate) return false
    const times = this.random() < this.doubleRate ? 2 : 1
    for (let i = 0; i < times; i++) {
      this.later(() => {
        if (!this.isCut(from, to)) this.datagrams.get(to)?.deliver(datagram, from)
      })
    }
    return true
  }
}

function pair(a: Address, b: Address): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
