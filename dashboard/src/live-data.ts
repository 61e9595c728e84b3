/**
 * What the page knows, kept fresh: one chain of requests at a time, every second, slower and slower while the node does not
 * answer; the watch stream brings what happened and asks for a refresh at once. A hidden tab asks nothing and holds no
 * connection. The views only ever see an immutable `LiveState`.
 */
import { fetchOperations } from './agents-client.js'
import { findOther, type Other } from './failover.js'
import {
  type ClusterStatusJson,
  type FeedEventJson,
  fetchHistory,
  fetchIdentity,
  fetchNodes,
  fetchSamples,
  fetchShards,
  fetchStatus,
  type IdentityJson,
  LoginNeeded,
  type NodeJson,
  type OperationJson,
  Refused,
  type ShardJson,
  watchPath,
} from './http-client.js'
import { Samples } from './samples.js'
import { withShards } from './shard-counts.js'

const byName = new Intl.Collator('en', { numeric: true })
const pollPeriodMs = 1_000
/** While something is under way that people wait for. */
const workingPeriodMs = 300
const backoffMsMax = 15_000
const refreshDelayMs = 60
/** Of many nodes something happens all the time: their storm must not make the page, and the node, do nothing else. */
const manyNodes = 30
const manyRefreshDelayMs = 900
/** Events that come close together are shown together. */
const historyDelayMs = 100
const keptEventsMax = 2_000
/** Before another node is looked for. */
const failuresMin = 2
const silentMsMin = 4_000
/** Points per curve that are asked for: fewer where curves are many. */
const pointsWanted = (nodes: number): number => Math.max(75, Math.min(300, Math.floor(20_000 / (nodes || 1))))
const identityPeriodMs = 5 * 60_000

export interface LiveState {
  readonly status: ClusterStatusJson | null
  readonly nodes: readonly NodeJson[]
  readonly shards: readonly ShardJson[]
  /** Newest first: what was begun through this node. */
  readonly operations: readonly OperationJson[]
  /** Oldest first; without what agents do, which would crowd out the rest. */
  readonly history: readonly FeedEventJson[]
  /** Grows in place; the state it is part of is another one each time. */
  readonly samples: Samples
  /** This browser's clock when the last whole answer came; 0 before the first. */
  readonly freshAtMs: number
  /** What to add to this browser's clock to get the node's. */
  readonly clockOffsetMs: number
  readonly failures: number
  readonly error: string | null
  readonly retryAtMs: number
  /** A node that answers in place of the one that does not any more. */
  readonly other: Other | null
  readonly isStreaming: boolean
  readonly isPaused: boolean
  /** Whom the node takes this browser for; null before it was asked. */
  readonly identity: IdentityJson | null
  /** Nothing is asked any more until somebody has logged in. */
  readonly isLoginNeeded: boolean
}

const emptyState: LiveState = {
  status: null,
  nodes: [],
  shards: [],
  operations: [],
  history: [],
  samples: new Samples(),
  freshAtMs: 0,
  clockOffsetMs: 0,
  failures: 0,
  error: null,
  retryAtMs: 0,
  other: null,
  isStreaming: false,
  isPaused: false,
  identity: null,
  isLoginNeeded: false,
}

export class LiveData {
  private readonly document: Document
  private readonly listeners = new Set<(state: LiveState) => void>()
  private readonly deedListeners = new Set<() => void>()
  private readonly feedListeners = new Set<(event: FeedEventJson) => void>()
  private current = emptyState
  private timer: ReturnType<typeof setTimeout> | undefined
  private dueAtMs = Number.POSITIVE_INFINITY
  private isAsking = false
  private isRefreshWanted = false
  private needsHistory = true
  private needsOperations = true
  private needsSamples = true
  private identityAtMs = 0
  private source: EventSource | undefined
  /** Came over the stream since its snapshot: history fetched meanwhile may or may not hold them. */
  private streamed: FeedEventJson[] = []
  private historyTimer: ReturnType<typeof setTimeout> | undefined

  constructor(page: Document) {
    this.document = page
  }

  get state(): LiveState {
    return this.current
  }

  start(): void {
    this.document.addEventListener('visibilitychange', () => this.onVisibility())
    this.onVisibility()
  }

  subscribe(listener: (state: LiveState) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** Each thing that happens, as it comes over the stream. */
  onFeedEvent(listener: (event: FeedEventJson) => void): () => void {
    this.feedListeners.add(listener)
    return () => void this.feedListeners.delete(listener)
  }

  /** Asks now, or once more as soon as the running chain ends. */
  refresh(): void {
    if (this.isAsking) this.isRefreshWanted = true
    else this.schedule(0)
  }

  /** Somebody did something on this page: all that is shown may be different now, and what was begun may take a while. */
  noteDeed(): void {
    this.needsOperations = true
    this.refresh()
    for (const listener of this.deedListeners) listener()
  }

  onDeed(listener: () => void): () => void {
    this.deedListeners.add(listener)
    return () => void this.deedListeners.delete(listener)
  }

  /** After a log-in or a log-out: all that is known may be somebody else's view. */
  startOver(): void {
    this.unschedule()
    this.closeStream()
    this.identityAtMs = 0
    this.needAll()
    this.streamed = []
    this.update({ ...emptyState, samples: new Samples(), isPaused: this.document.hidden })
    if (this.document.hidden) return
    this.openStream()
    this.refresh()
  }

  private needAll(): void {
    this.needsHistory = true
    this.needsOperations = true
    this.needsSamples = true
  }

  private update(change: Partial<LiveState>): void {
    this.current = { ...this.current, ...change }
    for (const listener of this.listeners) listener(this.current)
  }

  private onVisibility(): void {
    if (this.document.hidden) {
      this.unschedule()
      this.closeStream()
      this.update({ isPaused: true })
    } else {
      this.update({ isPaused: false })
      if (this.current.isLoginNeeded) return
      this.openStream()
      this.refresh()
    }
  }

  /** The earlier wish wins: a storm of events must not put the next request off for ever. */
  private schedule(delayMs: number): void {
    const dueAtMs = Date.now() + delayMs
    if (this.document.hidden || dueAtMs >= this.dueAtMs) return
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
    try {
      await this.loadIdentity()
      const status = await fetchStatus()
      const nodes = await fetchNodes()
      const shards = await fetchShards()
      const operations = await this.loadOperations(nodes)
      if (this.needsHistory || !this.current.isStreaming) await this.loadHistory()
      if (this.needsSamples) await this.loadSamples(nodes.length)
      this.accept(status, nodes, shards, operations)
    } catch (error) {
      if (error instanceof LoginNeeded) this.askForLogin()
      else this.fail(error instanceof Error ? error.message : String(error))
    } finally {
      this.isAsking = false
    }
    if (this.current.isLoginNeeded) return
    if (this.current.failures > 0) this.schedule(Math.max(0, this.current.retryAtMs - Date.now()))
    else if (this.isRefreshWanted) this.schedule(this.refreshDelayMs)
    else this.schedule(this.isWorking ? workingPeriodMs : pollPeriodMs)
  }

  private get isWorking(): boolean {
    return this.current.operations.some(({ state }) => state === 'running')
  }

  /** Asked for only while a node is not where it belongs, or was when it was last looked at. */
  private async loadOperations(nodes: readonly NodeJson[]): Promise<readonly OperationJson[]> {
    const isBusy = nodes.some(({ lifecycle, cordoned }) => lifecycle !== 'active' || cordoned)
    if (!isBusy && !this.isWorking && !this.needsOperations) return this.current.operations
    const operations = await fetchOperations()
    this.needsOperations = false
    return operations
  }

  private accept(
    status: ClusterStatusJson,
    nodes: readonly NodeJson[],
    shards: readonly ShardJson[],
    operations: readonly OperationJson[],
  ): void {
    const nowMs = Date.now()
    const nodeMs = Date.parse(status.time)
    const sorted = withShards(nodes, shards).toSorted((a, b) => byName.compare(a.id, b.id))
    this.current.samples.add(Number.isNaN(nodeMs) ? nowMs : nodeMs, sorted)
    this.update({
      status,
      nodes: sorted,
      shards,
      operations,
      freshAtMs: nowMs,
      clockOffsetMs: Number.isNaN(nodeMs) ? 0 : nodeMs - nowMs,
      failures: 0,
      error: null,
      other: null,
    })
    if (this.source?.readyState === EventSource.CLOSED) this.openStream()
  }

  /** Now and then, because that is also what keeps a log-in alive. */
  private async loadIdentity(): Promise<void> {
    if (Date.now() - this.identityAtMs < identityPeriodMs) return
    const identity = await fetchIdentity()
    this.identityAtMs = Date.now()
    this.update({ identity })
  }

  private askForLogin(): void {
    this.closeStream()
    this.streamed = []
    this.identityAtMs = 0
    this.update({
      ...emptyState,
      samples: new Samples(),
      isLoginNeeded: true,
      isPaused: this.document.hidden,
    })
  }

  private fail(error: string): void {
    const failures = this.current.failures + 1
    const delayMs = Math.min(backoffMsMax, pollPeriodMs * 2 ** (failures - 1)) * (0.8 + Math.random() * 0.4)
    this.update({ failures, error, retryAtMs: Date.now() + delayMs })
    const { status, nodes, freshAtMs, other } = this.current
    const isSilent = failures >= failuresMin || Date.now() - freshAtMs > silentMsMin
    if (status !== null && freshAtMs > 0 && isSilent && other === null) void this.lookElsewhere(nodes, status)
  }

  private async lookElsewhere(nodes: readonly NodeJson[], status: ClusterStatusJson): Promise<void> {
    const other = await findOther(nodes, status)
    // It may have come back meanwhile.
    if (this.current.failures > 0) this.update({ other })
  }

  /** What the node remembers of the last minutes; a node of an older build remembers nothing. */
  private async loadSamples(nodes: number): Promise<void> {
    this.needsSamples = false
    try {
      this.current.samples.load(await fetchSamples(pointsWanted(nodes)))
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return
      this.needsSamples = true
      throw error
    }
  }

  private async loadHistory(): Promise<void> {
    this.needsHistory = false
    const fetched = await fetchHistory().catch((error: unknown) => {
      this.needsHistory = true
      throw error
    })
    const newestSeq = fetched.at(-1)?.seq ?? 0
    this.update({ history: [...fetched, ...this.streamed.filter(({ seq }) => seq > newestSeq)] })
  }

  private openStream(): void {
    this.closeStream()
    const source = new EventSource(watchPath)
    this.source = source
    source.onopen = () => this.update({ isStreaming: true })
    source.onerror = () => this.update({ isStreaming: false })
    source.addEventListener('snapshot', () => {
      // The node may be another process than before, whose numbers start again: what it remembers is all there is.
      this.streamed = []
      this.needAll()
      this.refresh()
    })
    source.addEventListener('feed', (message) => this.onFeed(message.data))
  }

  private closeStream(): void {
    this.source?.close()
    this.source = undefined
    this.update({ isStreaming: false })
  }

  private onFeed(data: unknown): void {
    const event = parseFeed(data)
    if (event === null) return
    for (const listener of this.feedListeners) listener(event)
    if (event.event.startsWith('agent.')) return
    this.streamed.push(event)
    if (this.streamed.length > 2 * keptEventsMax)
      this.streamed.splice(0, this.streamed.length - keptEventsMax)
    this.historyTimer ??= setTimeout(() => this.showStreamed(), historyDelayMs)
    if (this.isAsking) this.isRefreshWanted = true
    else this.schedule(this.refreshDelayMs)
  }

  private showStreamed(): void {
    this.historyTimer = undefined
    const { history } = this.current
    const newestSeq = history.at(-1)?.seq ?? 0
    const news = this.streamed.filter(({ seq }) => seq > newestSeq)
    if (news.length > 0) this.update({ history: [...history, ...news].slice(-keptEventsMax) })
  }

  private get refreshDelayMs(): number {
    return this.current.nodes.length > manyNodes ? manyRefreshDelayMs : refreshDelayMs
  }
}

function parseFeed(data: unknown): FeedEventJson | null {
  try {
    const event = JSON.parse(String(data)) as FeedEventJson
    return typeof event.seq === 'number' && typeof event.event === 'string' ? event : null
  } catch {
    // A stream of another version: the polls still tell the state.
    return null
  }
}
