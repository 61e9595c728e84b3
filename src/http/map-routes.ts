/** `/api/maps`: replicated maps, as this node holds them. */
import type { MapEntryView, SkeinNode } from '../runtime/node-api.js'
import { successSchema } from './contract.js'
import * as shapes from './map-contract.js'
import { notFound } from './problem.js'
import { type Route, route } from './route.js'

const valueBodyBytesMax = 5 * 1_048_576
const writeErrors = [
  'invalid_argument',
  'too_deep',
  'conflict',
  'overloaded',
  'clock_skew',
  'closed',
] as const

export function mapRoutes(node: SkeinNode): Route[] {
  return [...listRoutes(node), ...entryRoutes(node)]
}

function listRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/maps',
      role: 'viewer',
      summary: 'Replicated maps that hold anything, and how this node’s copies do',
      answers: { 200: { description: 'Maps', schema: shapes.mapListSchema } },
      handle: () => {
        const maps = node.maps.list()
        const { refusedCount, conflictCount, caughtUpAtMs } = node.maps.stats()
        return {
          body: {
            maps,
            count: maps.length,
            refused: refusedCount,
            conflicts: conflictCount,
            caught_up_at: caughtUpAtMs === 0 ? null : new Date(caughtUpAtMs).toISOString(),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/maps/{name}',
      role: 'viewer',
      summary: 'Keys of one map with their values, in order of key',
      query: shapes.mapQuery,
      answers: { 200: { description: 'A page of the map', schema: shapes.mapSchema } },
      errors: ['invalid_argument', 'not_found'],
      handle: ({ params, query }) => {
        const name = params.name as string
        const summary = node.maps.summary(name)
        if (summary === undefined) throw notFound(`map "${name}"`)
        const map = node.map(name)
        const keys = [...map.keys()].sort()
        const { after } = query
        const rest = after === undefined ? keys : keys.filter((key) => key > after)
        const entries = rest.slice(0, query.limit).flatMap((key) => {
          const view = map.show(key)
          return view === undefined ? [] : entryJson(view)
        })
        const last = entries.at(-1)?.key
        const hasMore = rest.length > query.limit && last !== undefined
        return {
          body: { ...summary, entries, count: entries.length, ...(hasMore ? { next_cursor: last } : {}) },
        }
      },
    }),
  ]
}

function entryRoutes(node: SkeinNode): Route[] {
  const path = '/api/maps/{name}/{key}'
  const show = (name: string, key: string): MapEntryView => {
    const view = node.map(name).show(key)
    if (view === undefined) throw notFound(`key "${key}" of map "${name}"`)
    return view
  }
  return [
    route({
      method: 'GET',
      path,
      role: 'viewer',
      summary: 'One key: what it holds, who wrote it and when, and the concurrent values it won against',
      answers: { 200: { description: 'The entry', schema: shapes.mapEntrySchema } },
      errors: ['not_found'],
      handle: ({ params }) => ({ body: entryJson(show(params.name as string, params.key as string)) }),
    }),
    route({
      method: 'PUT',
      path,
      role: 'operator',
      isFrequent: true,
      summary: 'Write a key: a value, an addition to a counter, or elements into and out of a set',
      body: shapes.mapWriteSchema,
      bodyBytesMax: valueBodyBytesMax,
      answers: { 200: { description: 'What it holds now, on this node', schema: shapes.mapEntrySchema } },
      errors: [...writeErrors, 'not_found', 'payload_too_large'],
      handle: ({ params, body }) => {
        const { name, key } = params as { name: string; key: string }
        const map = node.map(name)
        if ('value' in body) map.set(key, body.value)
        else if ('increment' in body) map.counter(key).add(body.increment)
        else {
          if (body.remove.length > 0) map.elements(key).remove(...body.remove)
          if (body.add.length > 0) map.elements(key).add(...body.add)
        }
        return { body: entryJson(show(name, key)) }
      },
    }),
    route({
      method: 'DELETE',
      path,
      role: 'operator',
      isFrequent: true,
      summary: 'Delete a key',
      answers: { 200: { description: 'Gone', schema: successSchema } },
      errors: [...writeErrors, 'not_found'],
      handle: ({ params }) => {
        const { name, key } = params as { name: string; key: string }
        if (!node.map(name).delete(key)) throw notFound(`key "${key}" of map "${name}"`)
        return { body: { success: true } }
      },
    }),
  ]
}

function entryJson({ key, kind, value, hlc, nodeId, conflicts }: MapEntryView): shapes.MapEntryJson {
  return {
    key,
    kind,
    value,
    hlc,
    node_id: nodeId,
    conflicts: conflicts.map((c) => ({ value: c.value, hlc: c.hlc, node_id: c.nodeId })),
  }
}
