/**
 * A watch that goes on over broken connections. It keeps one number, the next revision that is wanted, and asks etcd for the
 * events from there on, again after every break: what is delivered is decided by that number alone, never by what a stream says about itself.
 *
 * Three things that etcd does differently from what one would expect:
 * - The header of a response carries the revision of the member, not of the events: during catch-up it is far ahead of them. Only
 *   the header of an empty response that is not `created` says that everything up to it was delivered.
 * - A delete at the very revision of a compaction is forgotten, though a watch from there is accepted. We ask from one revision
 *   earlier and drop what comes from it, so that etcd refuses exactly what it can no longer tell in full.
 * - A watch from a revision that does not exist yet is accepted in silence, also by an etcd that was set back. A linearizable read
 *   comes before every stream and settles whether the store is still the one that was opened.
 */
import type { Revision } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { WatchBatch, WatchEvent } from '../../core/kernel/store-types.js'
import { type Attempt, type EtcdClient, pause } from '../../engines/etcd/client.js'
import { calls, toBig, type WatchRequest, type WatchResponse } from '../../engines/etcd/codec.js'
import type { EtcdStream } from '../../engines/etcd/endpoint.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { compacted } from '../../engines/store/watch.js'
import type { Keyspace } from './translate.js'

export interface WatchTask {
  readonly client: EtcdClient
  readonly space: Keyspace
  readonly prefix: string
  /** First revision wanted. */
  readonly from: Promise<Revision>
  /** Aborts with the caller's signal and with the store. */
  readonly signal: AbortSignal
  /** Reads linearizably at an endpoint and checks that the store is the same. */
  readonly verify: (attempt: Attempt) => Promise<void>
}

/** What a watcher has not taken yet. Beyond it the stream is given up, and opened anew when the rest was taken. */
const bufferedBatchesMax = 1024
const bufferedBytesMax = 8 * 1024 * 1024
/** A stream may be silent for long; the connection below it is asked after so long a silence. */
const quietMsMax = 1500
const probeMsMax = 1500
const retryPauseMsMax = 1000
const openTimeoutMs = 3000
/** A refusal may mean an expired token; so many in a row mean a missing permission. */
const refusalsMax = 3

/** What must reach the watcher; anything else is a break that mends. */
const fatal = new Set(['compacted', 'store_mismatch', 'unauthenticated', 'incompatible', 'corrupt'])

export async function* followPrefix(task: WatchTask): AsyncGenerator<WatchBatch, void, undefined> {
  const { client, signal } = task
  let next: Revision | undefined
  let failures = 0
  let refusals = 0
  while (!signal.aborted) {
    let session: WatchSession | undefined
    try {
      next ??= await task.from
      const wanted: Revision = next
      session = await client.run(
        'watching',
        'read',
        { timeoutMs: openTimeoutMs, signal },
        async (attempt) => {
          await task.verify(attempt)
          return new WatchSession(task, attempt, wanted)
        },
      )
      for (let batch = await session.take(); batch !== undefined; batch = await session.take()) {
        failures = 0
        refusals = 0
        yield batch
        next = batch.rev + 1n
        if (signal.aborted) return
      }
      next = session.next
      refusals += session.isRefused ? 1 : 0
      if (refusals > refusalsMax) throw notPermitted(task.prefix)
    } catch (error) {
      if (signal.aborted) return
      if (!isSkeinError(error) || fatal.has(error.code)) throw error
    } finally {
      session?.end()
    }
    failures += 1
    if (failures > 1) await pause(Math.min(retryPauseMsMax, 20 * 2 ** Math.min(failures, 6)), [signal])
  }
}

/** One stream at one endpoint. */
class WatchSession {
  readonly #task: WatchTask
  readonly #attempt: Attempt
  readonly #stream: EtcdStream<WatchRequest, WatchResponse>
  readonly #ready: WatchBatch[] = []
  readonly #onAbort = () => this.#stop()
  #readyBytes = 0
  /** Responses of one revision that come in fragments. */
  #fragments: WatchResponse['events'][number][] = []
  #next: Revision
  #isOver = false
  #isRefused = false
  #error: unknown
  #wake: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #probing = false

  constructor(task: WatchTask, attempt: Attempt, from: Revision) {
    this.#task = task
    this.#attempt = attempt
    this.#next = from
    const { space, prefix, signal } = task
    this.#stream = attempt.endpoint.duplex(calls.watch, { token: attempt.token })
    this.#stream.onMessage((message) => this.#guarded(() => this.#receive(message)))
    this.#stream.onEnd((failure) => {
      if (this.#isOver) return
      if (failure !== undefined) this.#task.client.leave(attempt.endpoint)
      this.#stop()
    })
    const { key, rangeEnd } = space.range(prefix)
    const start = from > 1n ? from - 1n : 1n
    this.#stream.send({
      createRequest: { key, rangeEnd, startRevision: start.toString(), progressNotify: true, fragment: true },
    })
    signal.addEventListener('abort', this.#onAbort, { once: true })
    this.#watchSilence()
  }

  /** Everything before it was taken or did not concern the prefix. */
  get next(): Revision {
    return this.#next
  }

  get isRefused(): boolean {
    return this.#isRefused
  }

  /** The next batch; undefined when this stream has given all it will. Throws what the watcher must know. */
  async take(): Promise<WatchBatch | undefined> {
    while (this.#ready.length === 0 && !this.#isOver && !this.#task.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#task.signal.aborted) return undefined
    const batch = this.#ready.shift()
    if (batch !== undefined) {
      this.#readyBytes -= bytesOf(batch)
      return batch
    }
    if (this.#error !== undefined) throw this.#error
    return undefined
  }

  end(): void {
    this.#stop()
    this.#ready.length = 0
  }

  #receive(message: WatchResponse): void {
    if (this.#isOver) return
    const { client } = this.#task
    client.continuity.answered(message.header, this.#attempt.endpoint.address, undefined)
    if (message.canceled) {
      this.#canceled(message)
      return
    }
    this.#fragments.push(...message.events)
    if (message.fragment) return
    const events = this.#fragments
    this.#fragments = []
    if (events.length > 0) this.#deliver(events)
    else if (!message.created) {
      const reached = toBig(message.header.revision) + 1n
      if (reached > this.#next) this.#next = reached
    }
    this.#wake?.()
  }

  #canceled(message: WatchResponse): void {
    const etcdCompactRev = toBig(message.compactRevision)
    if (etcdCompactRev > 0n) throw compacted(this.#next, etcdCompactRev + 1n)
    // An expired token looks like a missing permission here; the read before the next stream tells which it is.
    if (/permission denied|auth token/.test(message.cancelReason)) {
      this.#isRefused = true
      this.#task.client.forgetToken(this.#attempt.token)
    }
    this.#stop()
  }

  #deliver(events: readonly WatchResponse['events'][number][]): void {
    const { space } = this.#task
    let batch: { rev: Revision; events: WatchEvent[] } | undefined
    const flush = () => {
      if (batch === undefined) return
      this.#ready.push(batch)
      this.#readyBytes += bytesOf(batch)
      this.#next = batch.rev + 1n
    }
    for (const { type, kv } of events) {
      const rev = toBig(kv.modRevision)
      if (rev < this.#next) continue
      if (batch !== undefined && rev !== batch.rev) {
        flush()
        // Back in time within one response: nothing of the rest can be trusted, ask again from here.
        if (rev < this.#next) {
          this.#stop()
          return
        }
        batch = undefined
      }
      batch ??= { rev, events: [] }
      batch.events.push(
        type === 0
          ? { type: 'put', kv: space.keyValue(kv) }
          : { type: 'delete', key: space.decode(kv.key), modRev: rev },
      )
    }
    flush()
    if (this.#ready.length > bufferedBatchesMax || this.#readyBytes > bufferedBytesMax) this.#stop()
  }

  /** Errors reach the watcher after the batches before them. */
  #guarded(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#error = error
      this.#stop()
    }
  }

  #watchSilence(): void {
    const { endpoint, token } = this.#attempt
    const dueMs = Math.max(quietMsMax / 4, quietMsMax - endpoint.quietMs)
    this.#timer = setTimeout(() => {
      if (this.#isOver) return
      if (endpoint.quietMs < quietMsMax || this.#probing) {
        this.#watchSilence()
        return
      }
      this.#probing = true
      const { client, signal } = this.#task
      client.probe(endpoint, monotonicMs() + probeMsMax, signal).then(
        () => {
          this.#probing = false
          this.#watchSilence()
        },
        (error: unknown) => {
          if (this.#isOver) return
          client.forgetToken(token)
          client.leave(endpoint)
          this.#guarded(() => {
            if (isSkeinError(error)) throw error
            this.#stop()
          })
        },
      )
    }, dueMs)
  }

  #stop(): void {
    if (!this.#isOver) {
      this.#isOver = true
      clearTimeout(this.#timer)
      this.#task.signal.removeEventListener('abort', this.#onAbort)
      this.#stream.cancel()
    }
    this.#wake?.()
  }
}

function bytesOf({ events }: WatchBatch): number {
  return events.reduce((sum, event) => sum + (event.type === 'put' ? event.kv.value.byteLength : 0) + 100, 0)
}

function notPermitted(prefix: string): SkeinError {
  return new SkeinError('unauthenticated', 'the etcd user may not watch the namespace', {
    details: { prefix },
  })
}
