/**
 * The agents as the page knows them, kept fresh while somebody looks: asked again after what a feed event names, else now and then, less often
 * the longer an answer takes. While the page has no connection nothing is asked, and what is known is marked as stale.
 */
import { type AgentJson, fetchAgents, fetchStrategy } from './agents-client.js'
import { type FeedEventJson, LoginNeeded } from './http-client.js'
import type { LiveData, LiveState } from './live-data.js'

const periodMsMin = 2_000
const periodMsMax = 30_000
/** Of the time between two questions, at most one part in so many is spent on the answer. */
const idleFactor = 8
const eventDelayMsMin = 250
const staleAfterMsMin = 6_000

export interface AgentsState {
  readonly agents: readonly AgentJson[]
  /** All there are; more than `agents` where the list was cut. */
  readonly total: number
  /** In force for the whole cluster; null before the first answer. */
  readonly strategy: string | null
  /** This browser's clock when the last answer came; 0 before the first. */
  readonly freshAtMs: number
  readonly error: string | null
}

export const emptyAgents: AgentsState = {
  agents: [],
  total: 0,
  strategy: null,
  freshAtMs: 0,
  error: null,
}

export class AgentsData {
  private readonly live: LiveData
  private readonly listeners = new Set<(state: AgentsState) => void>()
  private current = emptyAgents
  private isWanted = false
  private isAsking = false
  private isRefreshWanted = false
  private tookMs = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private dueAtMs = Number.POSITIVE_INFINITY
  /** Counts log-ins: what was asked for under another one is not taken. */
  private generation = 0
  private wasConnected = false
  /** How many agents each node has, as the nodes themselves say: tells of changes where the feed does not, away from the leader. */
  private lastCounts = ''

  constructor(live: LiveData) {
    this.live = live
    live.subscribe((state) => this.onLive(state))
    live.onFeedEvent((event) => this.onFeed(event))
  }

  get state(): AgentsState {
    return this.current
  }

  subscribe(listener: (state: AgentsState) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** Whether somebody sees them now. */
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
    return Math.min(periodMsMax, Math.max(periodMsMin, this.tookMs * idleFactor))
  }

  private get isConnected(): boolean {
    const { status, failures, isLoginNeeded, isPaused } = this.live.state
    return status !== null && failures === 0 && !isLoginNeeded && !isPaused
  }

  private onLive({ isLoginNeeded, freshAtMs, nodes }: LiveState): void {
    if ((isLoginNeeded || freshAtMs === 0) && this.current.freshAtMs !== 0) {
      this.generation++
      this.update(emptyAgents)
    }
    const isConnected = this.isConnected
    if (isConnected && !this.wasConnected) this.schedule(0)
    if (!isConnected) this.unschedule()
    this.wasConnected = isConnected
    const counts = nodes
      .map(({ id, active_agents, lifecycle }) => `${id} ${active_agents} ${lifecycle}`)
      .join()
    if (counts !== this.lastCounts) this.hasNews()
    this.lastCounts = counts
  }

  private onFeed({ event }: FeedEventJson): void {
    const isAbout = event.startsWith('agent.') || event.startsWith('member.') || event.startsWith('self.')
    if (isAbout) this.hasNews()
  }

  private hasNews(): void {
    if (this.isAsking) this.isRefreshWanted = true
    // A storm of events must not make the node do nothing but answer.
    else this.schedule(Math.max(eventDelayMsMin, this.tookMs * 2))
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
      const { agents, total } = await fetchAgents()
      const strategy = await fetchStrategy()
      if (generation === this.generation)
        this.update({ agents, total, strategy, freshAtMs: Date.now(), error: null })
    } catch (error) {
      if (error instanceof LoginNeeded) this.live.refresh()
      else if (generation === this.generation)
        this.update({ error: error instanceof Error ? error.message : String(error) })
    } finally {
      this.tookMs = Date.now() - startedAtMs
      this.isAsking = false
    }
    this.schedule(this.isRefreshWanted ? Math.max(eventDelayMsMin, this.tookMs * 2) : this.periodMs)
  }

  private update(change: Partial<AgentsState>): void {
    this.current = { ...this.current, ...change }
    for (const listener of this.listeners) listener(this.current)
  }
}
