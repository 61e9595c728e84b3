/**
 * Events as they come, from the whole cluster, over a WebSocket: the newest few, how many of each stream, and how many there were too many of. Views are told
 * at most a few times a second, however many come.
 */
import type { EventJson } from '../../src/http/contract.js'

const keptMax = 200
const toldEveryMs = 250
const retryMsMin = 1_000
const retryMsMax = 15_000
/** Over so long the rates of streams are taken. */
const rateMs = 10_000
const streamsMax = 200

export interface Tail {
  readonly state: 'opening' | 'open' | 'closed'
  /** Newest first. */
  readonly events: readonly EventJson[]
  /** Since the tail began. */
  readonly count: number
  /** That the node had to leave out, as this page or its network was too slow. */
  readonly missed: number
  /** Events per second of the last ten seconds, busiest first. */
  readonly rates: readonly { readonly stream: string; readonly perSecond: number }[]
}

export const emptyTail: Tail = { state: 'opening', events: [], count: 0, missed: 0, rates: [] }

export class LiveTail {
  private readonly query: string
  private readonly tell: (tail: Tail) => void
  private socket: WebSocket | undefined
  private state: Tail['state'] = 'opening'
  private events: EventJson[] = []
  private count = 0
  private missed = 0
  /** Arrivals by stream and second. */
  private readonly arrivals = new Map<string, Map<number, number>>()
  private readonly timer: ReturnType<typeof setInterval>
  private retry: ReturnType<typeof setTimeout> | undefined
  private tries = 0
  private isOver = false
  /** A hidden tab holds no connection. */
  private readonly onVisibility = (): void => {
    clearTimeout(this.retry)
    if (!document.hidden) this.open()
    else this.leave()
  }

  constructor(filter: { readonly stream: string; readonly key: string }, tell: (tail: Tail) => void) {
    const query = new URLSearchParams()
    if (filter.stream !== '') query.set('stream', filter.stream)
    if (filter.key !== '') query.set('key', filter.key)
    this.query = query.size === 0 ? '' : `?${query}`
    this.tell = tell
    this.timer = setInterval(() => this.report(), toldEveryMs)
    document.addEventListener('visibilitychange', this.onVisibility)
    this.onVisibility()
  }

  close(): void {
    this.isOver = true
    document.removeEventListener('visibilitychange', this.onVisibility)
    clearInterval(this.timer)
    clearTimeout(this.retry)
    this.leave()
  }

  private leave(): void {
    const { socket } = this
    this.socket = undefined
    this.state = 'closed'
    if (socket?.readyState !== WebSocket.CONNECTING) socket?.close()
    // One that is closed before it is open is a complaint on the console.
    else {
      socket.onmessage = null
      socket.onopen = () => socket.close()
    }
  }

  private open(): void {
    const url = new URL(`ws/live${this.query}`, location.href)
    url.hash = ''
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url)
    this.socket = socket
    socket.onopen = () => {
      this.tries = 0
      this.state = 'open'
    }
    socket.onmessage = ({ data }) => this.take(data)
    socket.onclose = () => {
      if (this.isOver || this.socket !== socket) return
      this.state = 'closed'
      const delayMs = Math.min(retryMsMax, retryMsMin * 2 ** this.tries++)
      this.retry = setTimeout(() => this.open(), delayMs)
    }
  }

  private take(data: unknown): void {
    const frame = parseFrame(data)
    if (frame === null) return
    if (frame.type === 'lagged') {
      this.missed += frame.missed
      return
    }
    this.count++
    this.events.push(frame.event)
    if (this.events.length > 2 * keptMax) this.events.splice(0, this.events.length - keptMax)
    const second = Math.floor(Date.now() / 1_000)
    const { stream } = frame.event
    let known = this.arrivals.get(stream)
    if (known === undefined) {
      if (this.arrivals.size >= streamsMax) return
      known = new Map()
      this.arrivals.set(stream, known)
    }
    known.set(second, (known.get(second) ?? 0) + 1)
  }

  private report(): void {
    const fromSecond = Math.floor((Date.now() - rateMs) / 1_000)
    const rates: { stream: string; perSecond: number }[] = []
    for (const [stream, bySecond] of this.arrivals) {
      let sum = 0
      for (const [second, arrived] of bySecond) {
        if (second < fromSecond) bySecond.delete(second)
        else sum += arrived
      }
      if (bySecond.size === 0) this.arrivals.delete(stream)
      else rates.push({ stream, perSecond: sum / (rateMs / 1_000) })
    }
    rates.sort((a, b) => b.perSecond - a.perSecond)
    const { state, count, missed } = this
    this.tell({ state, events: this.events.slice(-keptMax).reverse(), count, missed, rates })
  }
}

type Frame =
  | { readonly type: 'event'; readonly event: EventJson }
  | { readonly type: 'lagged'; readonly missed: number }

function parseFrame(data: unknown): Frame | null {
  try {
    const frame = JSON.parse(String(data)) as { type?: unknown; event?: unknown; missed?: unknown }
    if (frame.type === 'event' && typeof frame.event === 'object' && frame.event !== null)
      return { type: 'event', event: frame.event as EventJson }
    if (frame.type === 'lagged' && typeof frame.missed === 'number')
      return { type: 'lagged', missed: frame.missed }
  } catch {
    // A frame of another version: the others still tell.
  }
  return null
}
