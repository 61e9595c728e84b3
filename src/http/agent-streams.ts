/**
 * Agents live: output and status of one agent over SSE (`/api/agents/{name}/stream`) and WebSocket (`/ws/agents/{name}`, which takes commands
 * too). The agent may move meanwhile; the stream goes on from wherever it is. Who reads too slowly is cut off.
 */
import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import type { WebSocket } from 'ws'
import { z } from 'zod'
import { isSkeinError } from '../core/kernel/error.js'
import type { SkeinNode } from '../runtime/node-api.js'
import { commandSchema } from './agent-contract.js'
import { agentJson } from './agent-views.js'
import { HttpProblem, problemOf } from './problem.js'
import { hijacked, type Route, route, type SocketRoute, socketRoute } from './route.js'

const streamsMax = 512
const bufferedBytesMax = 1_048_576
const statusEveryMs = 1_000
const waitMs = 5_000
const retryMs = 300

interface Sink {
  send(type: 'output' | 'status' | 'error', data: unknown): void
  readonly isOpen: boolean
}

let open = 0

/** Feeds a sink until it closes. */
function follow(node: SkeinNode, name: string, sink: Sink, afterSeq: number | undefined): void {
  open++
  void followOutput(node, name, sink, afterSeq)
  let lastStatus = ''
  const status = async (): Promise<void> => {
    while (sink.isOpen) {
      try {
        const agent = agentJson(await node.agents.show(name))
        const { calls: _calls, turn_ms: _turn, ...stable } = agent
        const text = JSON.stringify(stable)
        if (text !== lastStatus) sink.send('status', agent)
        lastStatus = text
      } catch (error) {
        sink.send('error', problemOf(error).problem)
        if (isSkeinError(error) && error.code === 'not_found') return
      }
      await pause(statusEveryMs)
    }
  }
  void status().finally(() => open--)
}

async function followOutput(
  node: SkeinNode,
  name: string,
  sink: Sink,
  afterSeq: number | undefined,
): Promise<void> {
  let position = afterSeq
  let owner = ''
  while (sink.isOpen) {
    try {
      const agent = await node.agents.show(name)
      if (agent.kind !== 'process') return
      const place = `${agent.nodeId} ${agent.assignedAtMs}`
      // Lines are numbered per guard: on another node they begin anew.
      if (owner !== '' && place !== owner) position = 0
      owner = place
      const lines = await node.agents.output(name, {
        limit: 1_000,
        waitMs: position === undefined ? 0 : waitMs,
        ...(position === undefined ? {} : { afterSeq: position }),
      })
      for (const { seq, stream, text, atMs, epoch } of lines)
        if (sink.isOpen) sink.send('output', { seq, stream, text, at: new Date(atMs).toISOString(), epoch })
      position = lines.at(-1)?.seq ?? position ?? 0
    } catch (error) {
      if (isSkeinError(error) && error.code === 'not_found' && error.retryable === false) return
      await pause(retryMs)
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function checkRoom(): void {
  if (open >= streamsMax)
    throw new HttpProblem('overloaded', `${streamsMax} streams of agents are open already`, {
      retryable: true,
    })
}

export function agentStreamRoute(node: SkeinNode): Route {
  return route({
    method: 'GET',
    path: '/api/agents/{name}/stream',
    role: 'viewer',
    summary: 'Its output and status as server-sent events `output`, `status`, `error`',
    query: z.object({ after: z.coerce.number().int().min(0).optional() }),
    answers: { 200: { description: 'Events', type: 'text/event-stream' } },
    errors: ['not_found', 'overloaded'],
    handle: async ({ params, query, reply }): Promise<typeof hijacked> => {
      const name = params.name as string
      await node.agents.show(name)
      checkRoom()
      openEvents(node, name, reply, query.after)
      return hijacked
    },
  })
}

function openEvents(node: SkeinNode, name: string, reply: FastifyReply, afterSeq: number | undefined): void {
  reply.hijack()
  const response: ServerResponse = reply.raw
  const headers = {
    ...reply.getHeaders(),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
  }
  response.writeHead(200, headers as Record<string, string>)
  response.write('retry: 1000\n\n')
  let isOpen = true
  response.on('close', () => {
    isOpen = false
  })
  response.on('error', () => response.destroy())
  follow(
    node,
    name,
    {
      get isOpen() {
        return isOpen
      },
      send: (type, data) => {
        if (response.writableLength > bufferedBytesMax) response.destroy()
        else response.write(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`)
      },
    },
    afterSeq,
  )
}

const frameSchema = commandSchema.extend({
  type: z.literal('command'),
  request_id: z.string().max(128).optional(),
  agent: z.string().optional(),
  timestamp: z.string().optional(),
})

/** Frames `{type, timestamp, agent, command, data, request_id, error}`. */
export function agentSocket(node: SkeinNode): SocketRoute {
  return socketRoute({
    path: '/ws/agents/{name}',
    role: 'operator',
    summary: 'Its output and status, and commands: pause, resume, kill, send_input, get_state, send_signal',
    open: (socket, _query, request) => {
      checkRoom()
      const name = decodeURIComponent((request.url ?? '').split('?')[0]?.split('/')[3] ?? '')
      const send = (frame: Readonly<Record<string, unknown>>): void => {
        if (socket.readyState !== socket.OPEN) return
        if (socket.bufferedAmount > bufferedBytesMax) socket.close(1013, 'too slow')
        else socket.send(JSON.stringify({ timestamp: new Date().toISOString(), agent: name, ...frame }))
      }
      follow(
        node,
        name,
        {
          get isOpen() {
            return socket.readyState === socket.OPEN
          },
          send: (type, data) => send(type === 'error' ? { type, error: data } : { type, data }),
        },
        undefined,
      )
      socket.on('message', (bytes: Buffer) => void command(node, name, bytes, send, socket))
    },
  })
}

async function command(
  node: SkeinNode,
  name: string,
  bytes: Buffer,
  send: (frame: Readonly<Record<string, unknown>>) => void,
  socket: WebSocket,
): Promise<void> {
  let given: unknown
  try {
    given = JSON.parse(bytes.toString('utf8'))
  } catch {
    socket.close(1007, 'a frame must be JSON')
    return
  }
  const parsed = frameSchema.safeParse(given)
  const requestId = (given as { request_id?: unknown } | null)?.request_id
  const about = { request_id: typeof requestId === 'string' ? requestId : null }
  if (!parsed.success) {
    const detail = parsed.error.issues.map((i) => `${i.path.join('.') || 'frame'}: ${i.message}`).join('; ')
    send({ type: 'error', ...about, error: problemOf(new HttpProblem('invalid_argument', detail)).problem })
    return
  }
  const { command: what, data } = parsed.data
  try {
    send({ type: 'response', ...about, command: what, data: await node.agents.command(name, what, data) })
  } catch (error) {
    send({ type: 'error', ...about, command: what, error: problemOf(error).problem })
  }
}
