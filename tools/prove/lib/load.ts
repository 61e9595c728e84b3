/** Publishing without an end, and what came of it: what was acknowledged, and everything that was not. */
import { sleep } from './cluster.js'
import type { GuardedCluster, GuardedNode } from './guarded-cluster.js'

const perRequest = 20
const keptRefusals = 20

interface Result {
  readonly id: string
  readonly status: string
}

export interface LoadOptions {
  /** What was refused is sent again, as a client should. */
  readonly isTolerant?: boolean
  /** Of each worker, between its requests. */
  readonly pauseMs?: number
}

/** Two workers for each node. */
export class Load {
  readonly stream: string
  readonly acknowledged = new Set<string>()
  /** Answers that were not "accepted", and requests without an answer: the first of them, and how many. */
  readonly refusals: string[] = []
  refused = 0
  private readonly sent = new Set<string>()
  private readonly options: LoadOptions
  private isOver = false
  private readonly workers: Promise<void>[]

  constructor(cluster: GuardedCluster, stream: string, options: LoadOptions = {}) {
    this.stream = stream
    this.options = options
    this.workers = cluster.nodes.flatMap((node, n) =>
      [0, 1].map((w) => this.work(node, cluster.tokens.operator, `${n}${w}`)),
    )
  }

  async stop(): Promise<void> {
    this.isOver = true
    await Promise.all(this.workers)
  }

  /** What a node reads back, held against what was acknowledged. Undefined when they agree. */
  async differs(node: GuardedNode): Promise<string | undefined> {
    const stored = await node.readAll(this.stream)
    const unique = new Set(stored)
    const lost = [...this.acknowledged].filter((id) => !unique.has(id))
    if (lost.length > 0) return `${lost.length} acknowledged are not there, such as ${lost[0]}`
    if (unique.size !== stored.length) return `${stored.length - unique.size} are there twice`
    // What was sent and got no answer may be there; anything else may not.
    const strange = stored.filter((id) => !this.sent.has(id))
    return strange.length === 0 ? undefined : `${strange.length} were never sent, such as ${strange[0]}`
  }

  private async work(node: GuardedNode, token: string, worker: string): Promise<void> {
    const { isTolerant = false, pauseMs = 0 } = this.options
    for (let n = 0; !this.isOver; n++) {
      let events = Array.from({ length: perRequest }, (_, i) => ({
        stream: this.stream,
        key: `${worker}-${i}`,
        type: 'load',
        id: `${worker}-${i}-${n}`,
        payload: { n, text: 'x'.repeat(100) },
      }))
      for (const { id } of events) this.sent.add(id)
      do {
        events = await this.publish(node, token, events)
        if (pauseMs > 0 || events.length > 0) await sleep(Math.max(pauseMs, 20))
      } while (isTolerant && events.length > 0 && !this.isOver)
    }
  }

  /** Returns what was not stored. */
  private async publish<E extends { readonly id: string }>(
    node: GuardedNode,
    token: string,
    events: E[],
  ): Promise<E[]> {
    try {
      const { status, text } = await node.ask('POST', '/api/events', { body: JSON.stringify(events), token })
      const { results } = JSON.parse(text) as { results?: Result[] }
      if (results === undefined) throw new Error(`HTTP ${status} ${text.slice(0, 200)}`)
      const stored = new Set(results.filter((r) => r.status !== 'rejected').map(({ id }) => id))
      for (const id of stored) this.acknowledged.add(id)
      const rest = events.filter(({ id }) => !stored.has(id))
      if (rest.length > 0) throw new Error(JSON.stringify(results.find((r) => r.status === 'rejected')))
      return rest
    } catch (error) {
      this.refused++
      if (this.refusals.length < keptRefusals)
        this.refusals.push(`${node.id}: ${error instanceof Error ? error.message : String(error)}`)
      return events.filter(({ id }) => !this.acknowledged.has(id))
    }
  }
}
