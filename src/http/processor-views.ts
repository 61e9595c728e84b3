/** Processors and their runs as the contract's JSON. Pure. */
import { isSkeinError } from '../core/kernel/error.js'
import type { EndedRun, ProcessorsView, RunView, StreamLoad } from '../runtime/node-api.js'
import type { ProcessorListJson, RunJson } from './processor-contract.js'

export function runJson(run: RunView | EndedRun): RunJson {
  if ('ref' in run) {
    const { ref, status, detail, error } = run
    return {
      ...{ id: ref.id, name: ref.name, node_id: ref.nodeId, boot_id: ref.bootId, status, detail },
      ...(status === 'finished' ? { result: asJson(run.result) } : {}),
      ...(error === undefined ? {} : { error: errorJson(error) }),
    }
  }
  return {
    id: run.id,
    name: run.name,
    node_id: run.nodeId,
    boot_id: run.bootId,
    status: 'running',
    detail: run.isStopping ? 'told to stop' : '',
    started_by: run.startedBy,
    started_at: new Date(run.startedAtMs).toISOString(),
    is_stopping: run.isStopping,
    helps: run.helps,
  }
}

function errorJson(error: unknown): NonNullable<RunJson['error']> {
  if (!isSkeinError(error)) return { code: 'internal', detail: String(error), retryable: false, details: {} }
  const { code, message, retryable, details } = error
  return { code, detail: message, retryable, details: asJson(details) as Record<string, unknown> }
}

function streamJson(s: StreamLoad): ProcessorListJson['streams'][number] {
  const { stream, group, processor, shards, waiting, lent, processors, processed } = s
  return {
    ...{ stream, group, processor, node_id: s.nodeId, shards, waiting, lent, processors, processed },
    helpers: [...s.helpers],
    processed_by_helpers: s.processedByHelpers,
    refused_results: s.refusedResults,
  }
}

export function processorsJson(all: readonly ProcessorsView[]): ProcessorListJson {
  const byName = new Map<string, { nodes: string[]; isIdempotent: boolean }>()
  for (const { nodeId, registered } of all)
    for (const { name, isIdempotent } of registered) {
      const known = byName.get(name) ?? { nodes: [], isIdempotent: true }
      known.nodes.push(nodeId)
      // Only if it may be run again wherever it is.
      known.isIdempotent &&= isIdempotent
      byName.set(name, known)
    }
  const processors = [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { nodes, isIdempotent }]) => ({ name, nodes, is_idempotent: isIdempotent }))
  return {
    processors,
    count: processors.length,
    running: all.flatMap((n) => n.running.map(runJson)),
    streams: all.flatMap((n) => n.streams.map(streamJson)),
    nodes: all.map((n) => ({
      node_id: n.nodeId,
      running: n.running.length,
      running_max: n.runningMax,
      ...(n.error === undefined ? {} : { error: n.error }),
    })),
  }
}

const depthMax = 64

/** Data as JSON can hold it: maps as objects or lists of pairs, sets as lists, bytes in base64, big integers and dates as text. */
export function asJson(value: unknown, depth = 0): unknown {
  if (depth > depthMax || value === undefined) return null
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  const inner = (v: unknown): unknown => asJson(v, depth + 1)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (ArrayBuffer.isView(value) && Symbol.iterator in value)
    return [...(value as unknown as Iterable<unknown>)].map(inner)
  if (Array.isArray(value)) return value.map(inner)
  if (value instanceof Set) return [...value].map(inner)
  if (value instanceof Map) {
    const pairs = [...value]
    return pairs.every(([key]) => typeof key === 'string')
      ? Object.fromEntries(pairs.map(([key, v]) => [key, inner(v)]))
      : pairs.map(inner)
  }
  if (value instanceof Error) return { name: value.name, message: value.message }
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, inner(v)]))
}
