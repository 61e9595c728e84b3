/**
 * What a cluster tells of itself as it goes, from whichever node still speaks: `/api/cluster/watch` of one, and of another that was learned of
 * when that one is gone, refuses, or says nothing. A frozen node holds its connection open: silence counts as gone.
 */
import type { IncomingMessage } from 'node:http'
import type { ClusterStatusJson, FeedEventJson, NodeJson, SnapshotJson } from '../../http/contract.js'
import { type ClientOptions, call, openStream } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { pause } from '../interrupt.js'

/** States come once a second. */
const silenceMsMax = 4_000
const connectMsMax = 3_000
const retryMs = 1_000
const historyLimit = 200
/** Of one event of the stream; a snapshot of a large cluster is the largest. */
const eventBytesMax = 64 * 1_048_576

export interface State {
  readonly status: ClusterStatusJson
  readonly nodes: readonly NodeJson[]
}

export interface WatchNotes {
  /** Another node from now on; `history` is what that one has seen. `instead`: of which, and why. */
  connected(addr: string, history: readonly FeedEventJson[], instead: string | undefined): void
  state(state: State): void
  feed(event: FeedEventJson): void
  /** Nobody answers; it is tried again. */
  silent(why: string): void
}

interface Lost {
  readonly addr: string
  readonly why: string
  readonly isSilent: boolean
}

export class WatchSource {
  private readonly client: Omit<ClientOptions, 'addr'>
  private readonly scheme: string
  private readonly notes: WatchNotes
  /** In the order in which they are tried. */
  private readonly given: readonly string[]
  private learned: readonly string[] = []
  private current: string | undefined

  constructor(addresses: readonly string[], client: Omit<ClientOptions, 'addr'>, notes: WatchNotes) {
    this.given = addresses
    this.client = client
    this.notes = notes
    this.scheme = addresses[0]?.startsWith('https://') === true ? 'https://' : ''
  }

  /** Of the node that is listened to, for questions beside. */
  get options(): ClientOptions {
    return { ...this.client, addr: this.current ?? (this.given[0] as string) }
  }

  /** Until `signal`. Throws when no node that was named lets itself be watched in the beginning, or all refuse this token. */
  async run(signal: AbortSignal): Promise<void> {
    let lost: Lost | undefined
    while (!signal.aborted) {
      let failure: unknown
      for (const addr of this.candidates(lost)) {
        try {
          lost = await this.listen(addr, lost, signal)
          failure = undefined
          break
        } catch (error) {
          failure = error
        }
        if (signal.aborted) return
      }
      if (failure === undefined) continue
      if (this.learned.length === 0 || isRefused(failure)) throw failure
      this.notes.silent(failure instanceof Error ? failure.message : String(failure))
      await pause(retryMs, signal)
    }
  }

  /** The one that ended the connection may only have found us too slow; one that said nothing is asked last. */
  private candidates(lost: Lost | undefined): readonly string[] {
    const others = [...this.learned, ...this.given].filter((addr) => addr !== lost?.addr)
    if (lost === undefined) return [...new Set(others)]
    return [...new Set(lost.isSilent ? [...others, lost.addr] : [lost.addr, ...others])]
  }

  /** Resolves with why it ended, once it had begun. */
  private async listen(addr: string, lost: Lost | undefined, signal: AbortSignal): Promise<Lost> {
    const options = { ...this.client, addr }
    const end = new AbortController()
    const stop = (): void => end.abort()
    signal.addEventListener('abort', stop)
    let timer = setTimeout(stop, connectMsMax)
    try {
      const { stream, events } = await this.open(options, end.signal)
      this.current = addr
      const instead = lost === undefined || lost.addr === addr ? undefined : `${lost.addr}: ${lost.why}`
      this.notes.connected(addr, events, instead)
      try {
        for await (const { event, data } of eventsOf(stream)) {
          clearTimeout(timer)
          timer = setTimeout(stop, silenceMsMax)
          this.take(event, data)
        }
        return { addr, why: 'it ended the connection', isSilent: false }
      } catch (error) {
        if (end.signal.aborted)
          return { addr, why: `it said nothing for ${silenceMsMax / 1_000} s`, isSilent: true }
        return { addr, why: (error as NodeJS.ErrnoException).code ?? String(error), isSilent: false }
      }
    } catch (error) {
      if (!end.signal.aborted) throw error
      throw new CliFailure(exitCodes.timedOut, `${addr} did not answer within ${connectMsMax / 1_000} s`, {
        code: 'timeout',
      })
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      end.abort()
    }
  }

  private async open(options: ClientOptions, signal: AbortSignal) {
    const stream = await openStream(options, '/api/cluster/watch', 'text/event-stream', signal)
    const path = `/api/cluster/history?limit=${historyLimit}`
    const history = await call(options, 'GET', path, undefined, connectMsMax)
    return { stream, events: (history as { events: readonly FeedEventJson[] }).events }
  }

  private take(event: string, data: string): void {
    if (event === 'feed') this.notes.feed(JSON.parse(data) as FeedEventJson)
    else if (event === 'snapshot' || event === 'state') {
      const { status, nodes } = JSON.parse(data) as SnapshotJson
      const isThere = (n: NodeJson): boolean =>
        n.kind === 'node' && n.status !== 'offline' && n.address !== ''
      this.learned = nodes.filter(isThere).map((node) => `${this.scheme}${node.address}`)
      this.notes.state({ status, nodes })
    }
  }
}

/** No other node will judge this token otherwise. */
function isRefused(failure: unknown): boolean {
  return failure instanceof CliFailure && ['unauthenticated', 'forbidden'].includes(failure.code ?? '')
}

/** Server-sent events, as far as the node uses them: `event` and one `data`. */
async function* eventsOf(
  stream: IncomingMessage,
): AsyncGenerator<{ readonly event: string; readonly data: string }> {
  let rest = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream) {
    rest += String(chunk)
    for (let end = rest.indexOf('\n\n'); end !== -1; end = rest.indexOf('\n\n')) {
      const lines = rest.slice(0, end).split('\n')
      rest = rest.slice(end + 2)
      const field = (name: string): string | undefined =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
      const data = field('data')
      if (data !== undefined) yield { event: field('event') ?? 'message', data }
    }
    if (rest.length > eventBytesMax) throw new Error(`an event is larger than ${eventBytesMax} bytes`)
  }
}
