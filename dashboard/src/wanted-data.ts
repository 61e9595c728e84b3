/**
 * An answer of the node that is kept fresh while somebody looks: asked for again after a feed event that may have changed it, else now and then, less
 * often the longer an answer takes. While the page has no connection nothing is asked, and what is known is marked as stale.
 */
import type { NodeJson } from './http-client.js'
import { LoginNeeded } from './http-client.js'
import type { LiveData, LiveState } from './live-data.js'
import { errorText } from './outcomes.js'

const periodMsMin = 2_000
const periodMsMax = 30_000
/** Of the time between two questions, at most one part in so many is spent on the answer. */
const idleFactor = 8
const eventDelayMsMin = 250
const staleAfterMsMin = 6_000

export interface Question<T> {
  ask(): Promise<T>
  /** First parts of the names of feed events that may change the answer; what members do may change any. */
  readonly topics?: readonly string[]
  /** Between two answers, at least; for large ones. */
  readonly restMs?: () => number
  /** Changes together with the answer: tells of changes where the feed does not, away from the leader. */
  readonly sign?: (nodes: readonly NodeJson[]) => string
}

export interface Known<T> {
  /** Null before the first. */
  readonly answer: T | null
  /** This browser's clock when the last answer came; 0 before the first. */
  readonly freshAtMs: number
  readonly error: string | null
}

const nothing = { answer: null, freshAtMs: 0, error: null }

export class WantedData<T> {
  private readonly live: LiveData
  private readonly question: Question<T>
  private readonly listeners = new Set<(known: Known<T>) => void>()
  private current: Known<T> = nothing
  private isWanted = false
  private isAsking = false
  private isRefreshWanted = false
  private tookMs = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private dueAtMs = Number.POSITIVE_INFINITY
  /** Counts log-ins: what was asked for under another one is not taken. */
  private generation = 0
  private wasConnected = false
  private lastSign = ''

  constructor(live: LiveData, question: Question<T>) {
    this.live = live
    this.question = question
  }

  /** Follows the page's connection from now on; what it returns ends that. */
  open(): () => void {
    const { live } = this
    const endings = [
      live.subscribe((state) => this.onLive(state)),
      live.onDeed(() => this.refresh()),
      live.onFeedEvent(({ event }) => {
        if (this.isAbout(event)) this.hasNews()
      }),
    ]
    this.onLive(live.state)
    return () => {
      this.want(false)
      for (const end of endings) end()
    }
  }

  get known(): Known<T> {
    return this.current
  }

  subscribe(listener: (known: Known<T>) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** Whether somebody sees it now. */
  want(isWanted: boolean): void {
    const isNews = isWanted && !this.isWanted
    this.isWanted = isWanted
    if (isNews) this.schedule(this.isStale(Date.now()) ? 0 : this.periodMs)
    else if (!isWanted) this.unschedule()
  }

  /** Asks now, or once more as soon as the running question is answered. */
  refresh(): void {
    if (this.isAsking) this.isRefreshWanted = true
    else this.schedule(0)
  }

  /** Older than it would be if all were well. */
  isStale(nowMs: number): boolean {
    const { freshAtMs, error } = this.current
    return (
      freshAtMs === 0 || error !== null || nowMs - freshAtMs > Math.max(staleAfterMsMin, 2 * this.periodMs)
    )
  }

  private get periodMs(): number {
    return Math.min(
      periodMsMax,
      Math.max(periodMsMin, this.tookMs * idleFactor, this.question.restMs?.() ?? 0),
    )
  }

  private get isConnected(): boolean {
    const { status, failures, isLoginNeeded, isPaused } = this.live.state
    return status !== null && failures === 0 && !isLoginNeeded && !isPaused
  }

  private onLive({ isLoginNeeded, freshAtMs, nodes }: LiveState): void {
    if ((isLoginNeeded || freshAtMs === 0) && this.current.freshAtMs !== 0) {
      this.generation++
      this.update(nothing)
    }
    const isConnected = this.isConnected
    if (isConnected && !this.wasConnected) this.schedule(0)
    if (!isConnected) this.unschedule()
    this.wasConnected = isConnected
    const sign = this.question.sign?.(nodes) ?? ''
    if (sign !== this.lastSign) this.hasNews()
    this.lastSign = sign
  }

  private isAbout(event: string): boolean {
    return ['member.', 'self.', ...(this.question.topics ?? [])].some((topic) => event.startsWith(topic))
  }

  private hasNews(): void {
    if (this.isAsking) this.isRefreshWanted = true
    // A storm of events must not make the node do nothing but answer.
    else this.schedule(Math.max(eventDelayMsMin, this.tookMs * 2, this.question.restMs?.() ?? 0))
  }

  private schedule(delayMs: number): void {
    const dueAtMs = Date.now() + delayMs
    if (!this.isWanted || !this.isConnected || dueAtMs >= this.dueAtMs) return
    this.unschedule()
    this.dueAtMs = dueAtMs
    this.timer = setTimeout(() => void this.ask(), delayMs)
  }

  private unschedule(): void {
    clearTimeout(this.timer)
    this.dueAtMs = Number.POSITIVE_INFINITY
  }

  private async ask(): Promise<void> {
    this.unschedule()
    if (this.isAsking) return
    this.isAsking = true
    this.isRefreshWanted = false
    const { generation } = this
    const startedAtMs = Date.now()
    try {
      const answer = await this.question.ask()
      if (generation === this.generation) this.update({ answer, freshAtMs: Date.now(), error: null })
    } catch (error) {
      if (error instanceof LoginNeeded) this.live.refresh()
      else if (generation === this.generation) this.update({ error: errorText(error) })
    } finally {
      this.tookMs = Date.now() - startedAtMs
      this.isAsking = false
    }
    const restMs = Math.max(eventDelayMsMin, this.tookMs * 2, this.question.restMs?.() ?? 0)
    this.schedule(this.isRefreshWanted ? restMs : this.periodMs)
  }

  private update(change: Partial<Known<T>>): void {
    this.current = { ...this.current, ...change }
    for (const listener of this.listeners) listener(this.current)
  }
}
