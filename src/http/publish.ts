/**
 * From checked events to one answer. Good events of a batch are published though others are bad, in chunks the facade takes;
 * the answer is 202 as soon as one was taken, so that sending all of it again unchanged is safe.
 */
import type { ErrorCode } from '../core/kernel/error.js'
import type { PublishInput, PublishResult, SkeinNode } from '../runtime/node-api.js'
import type { PublishedJson, PublishResultJson } from './contract.js'
import type { CheckedEvent, EventBatch } from './event-input.js'
import { HttpProblem, problemOf, statusOf } from './problem.js'
import type { Answer } from './route.js'

const chunkEventsMax = 10_000
/** Bodies being published at once over all connections; beyond it a client is told to wait. */
const inFlightBytesMax = 64 * 1_048_576

export class Publisher {
  private readonly node: SkeinNode
  private inFlightBytes = 0

  constructor(node: SkeinNode) {
    this.node = node
  }

  /** One outcome per event, in order. Throws `overloaded` before anything is published. */
  async publish(events: readonly CheckedEvent[], bytes: number): Promise<PublishedJson> {
    if (this.inFlightBytes > 0 && this.inFlightBytes + bytes > inFlightBytesMax) {
      throw new HttpProblem('overloaded', 'Too much is being published here at once', { retryable: true })
    }
    this.inFlightBytes += bytes
    try {
      return tally(await this.outcomes(events))
    } finally {
      this.inFlightBytes -= bytes
    }
  }

  private async outcomes(events: readonly CheckedEvent[]): Promise<PublishResultJson[]> {
    const good: PublishInput[] = []
    for (const each of events) if (each.event !== undefined) good.push(each.event)
    const results: PublishResult[] = []
    for (let from = 0; from < good.length; from += chunkEventsMax) {
      const chunk = good.slice(from, from + chunkEventsMax)
      for (const result of await this.node.events.publishMany(chunk)) results.push(result)
    }
    let next = 0
    return events.map((each) =>
      each.event === undefined
        ? refusalJson(each.id, each.problem)
        : resultJson(results[next++] as PublishResult),
    )
  }
}

function resultJson(result: PublishResult): PublishResultJson {
  if (result.status !== 'rejected') {
    return { id: result.id, status: result.status, shard: result.shard, offset: result.offset }
  }
  const { code, detail, retryable } = result.error
  return {
    id: result.id,
    status: 'rejected',
    shard: result.shard,
    error: { code, status: statusOf(code), detail, retryable },
  }
}

function refusalJson(id: string | null, problem: HttpProblem): PublishResultJson {
  const field = typeof problem.details.field === 'string' ? { field: problem.details.field } : {}
  const error = {
    code: problem.code,
    status: problem.status,
    detail: problem.message,
    retryable: false,
    ...field,
  }
  return { id, status: 'rejected', shard: null, error }
}

function tally(results: PublishResultJson[]): PublishedJson {
  let accepted = 0
  let duplicates = 0
  for (const { status } of results) {
    if (status === 'accepted') accepted++
    else if (status === 'duplicate') duplicates++
  }
  return { accepted, duplicates, rejected: results.length - accepted - duplicates, results }
}

/** 202 when anything was taken; otherwise the problem that stands for all, with the single results in it. */
export function answerOf(published: PublishedJson, batch: EventBatch): Answer {
  const problem = refusalOfAll(published, batch.events)
  if (problem !== undefined) throw problem
  return { status: 202, body: published }
}

/** Undefined when anything was taken, or nothing was sent. A refusal worth repeating speaks before one that is not. */
export function refusalOfAll(
  published: PublishedJson,
  events: readonly CheckedEvent[],
): HttpProblem | undefined {
  const { results } = published
  if (results.length === 0 || published.rejected < results.length) return undefined
  const index = Math.max(
    0,
    results.findIndex((result) => result.error?.retryable === true),
  )
  const error = results[index]?.error
  if (error === undefined) return undefined
  const own = events[index]?.problem
  const detail =
    results.length === 1
      ? error.detail
      : `None of ${results.length} events was taken; the first reason: ${error.detail}`
  return new HttpProblem(error.code as ErrorCode, detail, {
    status: error.status,
    retryable: error.retryable,
    details: { ...(own?.details ?? {}), ...published },
  })
}

/** For frames of a WebSocket, which have no status line. */
export function errorFrame(error: unknown): {
  code: string
  status: number
  detail: string
  retryable: boolean
} {
  const { code, status, detail, retryable } = problemOf(error).problem
  return { code, status, detail, retryable }
}
