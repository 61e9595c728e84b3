/** `/api/events` and the WebSockets beside it. */
import type { WebSocket } from 'ws'
import type { SkeinNode } from '../runtime/node-api.js'
import {
  eventPageSchema,
  eventQuerySchema,
  limits,
  publishBodySchema,
  publishedSchema,
  tailQuerySchema,
} from './contract.js'
import { checkEvent, eventBodyTypes, parseEvents } from './event-input.js'
import { isPlainObject, member, parseJson } from './json-input.js'
import { invalid } from './problem.js'
import { answerOf, errorFrame, type Publisher } from './publish.js'
import { type Route, route, type SocketRoute, socketRoute } from './route.js'
import { eventJson } from './views.js'

export function eventRoutes(node: SkeinNode, publisher: Publisher): Route[] {
  return [
    route({
      method: 'POST',
      path: '/api/events',
      role: 'operator',
      isFrequent: true,
      summary: 'Publish one event, an array, or NDJSON; answers once durable',
      body: publishBodySchema,
      bodyIsRaw: true,
      bodyBytesMax: limits.batchBytesMax,
      bodyTypes: eventBodyTypes,
      answers: {
        202: { description: 'At least one was taken; one outcome per event', schema: publishedSchema },
      },
      errors: [
        'invalid_argument',
        'event_conflict',
        'payload_too_large',
        'unsupported_media_type',
        'overloaded',
        'no_owner',
      ],
      async handle({ bytes, http }) {
        const batch = parseEvents(bytes, mediaType(http.headers['content-type']))
        return answerOf(await publisher.publish(batch.events, bytes.length), batch)
      },
    }),
    route({
      method: 'GET',
      path: '/api/events',
      role: 'viewer',
      summary: 'Read events back, from any node; in acknowledged order per key',
      query: eventQuerySchema,
      answers: {
        200: { description: 'A page; without next_cursor it is the last', schema: eventPageSchema },
      },
      errors: ['invalid_argument', 'compacted'],
      async handle({ query }) {
        const page = await node.events.read({
          stream: query.stream,
          limit: query.limit,
          ...(query.key === undefined ? {} : { key: query.key }),
          ...(query.after === undefined ? {} : { after: query.after }),
        })
        return {
          body: {
            events: page.events.map(eventJson),
            count: page.events.length,
            ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
            ...(page.incomplete.length === 0 ? {} : { incomplete: page.incomplete }),
          },
        }
      },
    }),
  ]
}

export function eventSockets(node: SkeinNode, publisher: Publisher): SocketRoute[] {
  return [
    socketRoute({
      path: '/ws/ingest',
      role: 'operator',
      summary:
        'Publish over a WebSocket: {type: publish, request_id, events} is answered by {type: ack, request_id, results}',
      open: (socket) => serveIngest(socket, publisher),
    }),
    socketRoute({
      path: '/ws/live',
      role: 'viewer',
      summary:
        'Live tail of the whole cluster, at most once: {type: event, event}; {type: lagged, missed} when too slow',
      query: tailQuerySchema,
      open: (socket, query) => serveTail(socket, node, query),
    }),
  ]
}

/** Batches of one connection under way at once; reading stops at this many. */
const batchesInFlightMax = 4

function serveIngest(socket: WebSocket, publisher: Publisher): void {
  let inFlight = 0
  socket.on('message', (data, isBinary) => {
    if (++inFlight >= batchesInFlightMax) socket.pause()
    const bytes = Buffer.isBuffer(data)
      ? data
      : Buffer.concat([data].flat().map((part) => new Uint8Array(part)))
    ingest(bytes, isBinary, publisher).then((frame) => {
      inFlight--
      if (socket.readyState !== socket.OPEN) return
      socket.send(JSON.stringify(frame))
      socket.resume()
    })
  })
}

async function ingest(bytes: Buffer, isBinary: boolean, publisher: Publisher): Promise<object> {
  let requestId: unknown = null
  try {
    if (isBinary) throw invalid('frame', 'binary', 'text')
    const frame = parseJson(bytes, 0, bytes.length, 'frame')
    if (!isPlainObject(frame)) throw invalid('frame', frame, '{type: publish, request_id, events}')
    const given = member(frame, 'request_id') ?? null
    if (given !== null && typeof given !== 'string' && typeof given !== 'number') {
      throw invalid('request_id', given, 'text or a number')
    }
    requestId = given
    if (member(frame, 'type') !== 'publish') throw invalid('type', member(frame, 'type'), '"publish"')
    const events = member(frame, 'events')
    if (!Array.isArray(events)) throw invalid('events', events, 'an array of events')
    const checked = events.map((each, index) => checkEvent(each, `events.${index}`))
    return { type: 'ack', request_id: requestId, ...(await publisher.publish(checked, bytes.length)) }
  } catch (error) {
    return { type: 'error', request_id: requestId, error: errorFrame(error) }
  }
}

/** Unsent bytes a slow reader may have waiting; what comes above it is passed over and counted. */
const tailBufferedBytesMax = 1_048_576

function serveTail(
  socket: WebSocket,
  node: SkeinNode,
  query: { readonly stream?: string | undefined; readonly key?: string | undefined },
): void {
  let missed = 0
  const report = () => {
    if (missed === 0 || socket.readyState !== socket.OPEN || socket.bufferedAmount > tailBufferedBytesMax / 2)
      return
    const frame = JSON.stringify({ type: 'lagged', missed })
    missed = 0
    socket.send(frame, report)
  }
  const stop = node.events.tail(
    {
      ...(query.stream === undefined ? {} : { stream: query.stream }),
      ...(query.key === undefined ? {} : { key: query.key }),
    },
    (event) => {
      if (socket.readyState !== socket.OPEN) return
      report()
      if (missed > 0 || socket.bufferedAmount > tailBufferedBytesMax) missed++
      else socket.send(JSON.stringify({ type: 'event', event: eventJson(event) }), report)
    },
    (count) => {
      missed += count
      report()
    },
  )
  socket.on('close', stop)
}

export function mediaType(header: string | undefined): string {
  return (header ?? 'application/json').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}
