/** Nodes in this process to make a state with, and the carry between two places. */
import { join } from 'node:path'
import type { CarryPhase, CarryReport } from '../../src/runtime/carry/carry.js'
import { carryBetween, type Place } from '../../src/runtime/carry/carry-between.js'
import { createNode, withDefaults } from '../../src/runtime/create-node.js'
import type { EventView, NodeConfig, SkeinNode } from '../../src/runtime/node-api.js'

export const shards = 16

export function sqliteIn(directory: string): Place {
  return { store: `sqlite:${join(directory, 'store.db')}`, journal: `sqlite:${join(directory, 'journal')}` }
}

export async function startNode(
  id: string,
  place: Place,
  directory: string,
  more: Partial<NodeConfig> = {},
): Promise<SkeinNode> {
  return await createNode({
    nodeId: id,
    dataDir: join(directory, id),
    threads: 'inline',
    http: false,
    peerPort: 0,
    preset: 'local',
    logLevel: 'silent',
    shards,
    ...place,
    ...more,
  })
}

export function configFor(place: Place, directory: string, more: Partial<NodeConfig> = {}): NodeConfig {
  return withDefaults({ dataDir: join(directory, 'n1'), peerPort: 6745, shards, ...place, ...more })
}

export async function carry(
  from: Place,
  to: Place,
  directory: string,
  options: {
    isDryRun?: boolean
    signal?: AbortSignal
    onProgress?: (phase: CarryPhase, done: number) => void
    config?: Partial<NodeConfig>
  } = {},
): Promise<CarryReport> {
  const { isDryRun = false, signal = new AbortController().signal, onProgress } = options
  return await carryBetween(
    configFor(from, directory, options.config),
    to,
    {
      isDryRun,
      signal,
      onProgress: (phase, done) => onProgress?.(phase, done),
    },
    () => undefined,
  )
}

/** All events of a stream by key, in order. */
export async function readAll(node: SkeinNode, stream: string): Promise<Map<string, EventView[]>> {
  const byKey = new Map<string, EventView[]>()
  for (let after: string | undefined; ; ) {
    const page = await node.events.read({ stream, limit: 1_000, ...(after === undefined ? {} : { after }) })
    if (page.incomplete.length > 0) throw new Error(`incomplete: ${JSON.stringify(page.incomplete)}`)
    for (const event of page.events) {
      const list = byKey.get(event.key)
      if (list === undefined) byKey.set(event.key, [event])
      else list.push(event)
    }
    if (page.nextCursor === undefined) return byKey
    after = page.nextCursor
  }
}

export async function publish(node: SkeinNode, stream: string, from: number, count: number) {
  const events = Array.from({ length: count }, (_, i) => ({
    stream,
    key: `key-${(from + i) % 40}`,
    id: `e${from + i}`,
    type: 't',
    payload: { n: from + i, text: 'ä\u{1F9E6}\0'.repeat((from + i) % 5) },
  }))
  const results = await node.events.publishMany(events, { timeoutMs: 20_000 })
  // One that was sent again because its shard moved is a duplicate of itself.
  const bad = results.find(({ status }) => status === 'rejected')
  if (bad !== undefined) throw new Error(`not accepted: ${JSON.stringify(bad)}`)
}
