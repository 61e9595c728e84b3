/**
 * `/ws`: rooms and sessions over a WebSocket, JSON in text frames; docs/ROOMS.md tells each of them. Whatever comes is checked and answered, at a
 * bounded rate; nothing more is read from a client that does not read what it is sent.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { mayAct } from '../keys/roles.js'
import type { JoinInput, RoomClient, RoomSink, SkeinNode } from '../runtime/node-api.js'
import type { Principal } from './access.js'
import { isPlainObject, member, parseJson } from './json-input.js'
import { HttpProblem, invalid, zodProblem } from './problem.js'
import { errorFrame } from './publish.js'
import { type ClientFrame, clientFrame } from './room-contract.js'
import { broadcastedJson, memberJson } from './room-routes.js'
import { type SocketRoute, socketRoute } from './route.js'

const messageBytesMax = 300_000
const helloWithinMs = 10_000
/** Of one client: so many frames a second, and so many at once. */
const rate = { perSecond: 500, burst: 1_000 } as const
const unansweredMax = 256
/** Not read by the client: until then nothing is read from it. */
const unreadBytesMax = 1_048_576
/** Of a frame over the rate, to be looked into for its request_id. */
const refusedBytesMax = 4_096
const policyViolated = 1008

export function roomSocket(node: SkeinNode, socketsMax: number): SocketRoute {
  return socketRoute({
    path: '/ws',
    role: 'viewer',
    summary:
      'Rooms and sessions: frames {type: hello|join|leave|broadcast|message|presence|ack|migrate|lagged|error}; to broadcast takes the role operator',
    socketsMax,
    messageBytesMax,
    open: (socket, _query, request, principal) => new Connection(node, socket, request, principal),
  })
}

class Connection {
  private readonly node: SkeinNode
  private readonly socket: WebSocket
  private readonly principal: Principal
  private readonly stream: Socket
  private readonly sink: RoomSink
  private client: RoomClient | undefined
  private readonly helloTimer: NodeJS.Timeout
  private unanswered = 0
  private isPaused = false
  private tokens: number = rate.burst
  private tokensAtMs = performance.now()

  constructor(node: SkeinNode, socket: WebSocket, { socket: stream }: IncomingMessage, principal: Principal) {
    this.node = node
    this.socket = socket
    this.stream = stream
    this.principal = principal
    this.sink = {
      get isOpen() {
        return socket.readyState === socket.OPEN
      },
      get bufferedBytes() {
        return stream.writableLength
      },
      // Between the library's own frames, which it writes whole.
      write: (frame) => {
        if (socket.readyState === socket.OPEN) stream.write(frame)
      },
      close: (code, reason) => socket.close(code, reason),
    }
    this.helloTimer = setTimeout(() => socket.close(policyViolated, 'no hello came'), helloWithinMs)
    socket.on('message', (data: Buffer, isBinary: boolean) => this.received(data, isBinary))
    stream.on('drain', () => {
      this.client?.drained()
      this.mayRead()
    })
    socket.on('close', () => {
      clearTimeout(this.helloTimer)
      this.client?.closed()
    })
  }

  private received(data: Buffer, isBinary: boolean): void {
    let requestId: unknown = null
    try {
      if (!this.mayCome()) {
        requestId = requestIdOf(data)
        throw new HttpProblem('overloaded', `more than ${rate.perSecond} frames a second`, {
          retryable: true,
        })
      }
      if (isBinary) throw invalid('frame', 'binary', 'text')
      const given = parseJson(data, 0, data.length, 'frame')
      if (!isPlainObject(given)) throw invalid('frame', given, 'an object with a type')
      requestId = member(given, 'request_id') ?? null
      const parsed = clientFrame.safeParse(given)
      if (!parsed.success) throw zodProblem(parsed.error, given, 'frame')
      this.handle(parsed.data)
    } catch (error) {
      this.refuse(requestId, error)
    }
  }

  private mayCome(): boolean {
    const nowMs = performance.now()
    const earned = ((nowMs - this.tokensAtMs) * rate.perSecond) / 1_000
    this.tokens = Math.min(rate.burst, this.tokens + earned)
    this.tokensAtMs = nowMs
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }

  private handle(frame: ClientFrame): void {
    if (frame.type === 'hello') {
      this.hello(frame)
      return
    }
    if (frame.type === 'ping') {
      this.send({ type: 'ack', request_id: frame.request_id ?? null })
      return
    }
    const { client } = this
    if (client === undefined) throw invalid('type', frame.type, '"hello" as the first frame')
    this.unanswered++
    this.mayRead()
    this.answer(client, frame)
      .then(
        (answer) => this.send({ type: 'ack', request_id: frame.request_id ?? null, ...answer }),
        (error: unknown) => this.refuse(frame.request_id ?? null, error),
      )
      .finally(() => {
        this.unanswered--
        this.mayRead()
      })
  }

  private hello(frame: Extract<ClientFrame, { type: 'hello' }>): void {
    if (this.client !== undefined) throw invalid('type', 'hello', 'hello once')
    const { name, role, via } = this.principal
    const mayBroadcast = role !== undefined && mayAct(role, 'operator')
    const claimed = frame.user ?? null
    if (!mayBroadcast && claimed !== null && claimed !== name)
      throw new HttpProblem(
        'forbidden',
        `user: this token is "${name}"; to speak for others takes operator`,
        {
          details: { field: 'user' },
        },
      )
    this.client = this.node.rooms.connect(this.sink, {
      user: mayBroadcast ? claimed : name,
      userByDefault: via === 'local' ? 'anonymous' : name,
      mayBroadcast,
      ...(frame.resume === undefined ? {} : { resume: frame.resume }),
      rooms: frame.rooms.map(joinOf),
    })
    clearTimeout(this.helloTimer)
  }

  private async answer(
    client: RoomClient,
    frame: Exclude<ClientFrame, { type: 'hello' | 'ping' }>,
  ): Promise<Readonly<Record<string, unknown>>> {
    const { room } = frame
    switch (frame.type) {
      case 'join':
        return { ...(await client.join(joinOf(frame))) }
      case 'leave':
        client.leave(room)
        return { room }
      case 'presence': {
        const { clients, members } = await this.node.rooms.presence(room)
        return { room, clients, members: members.map(memberJson) }
      }
      default: {
        if (this.principal.role === undefined || !mayAct(this.principal.role, 'operator'))
          throw new HttpProblem('forbidden', 'to broadcast takes the role operator', {
            details: { role_needed: 'operator', role: this.principal.role },
          })
        const { id, except } = frame
        const sent = await client.broadcast(room, frame.data, {
          ...(id === undefined ? {} : { id }),
          ...(except === undefined ? {} : { except }),
        })
        return { room, ...broadcastedJson(sent) }
      }
    }
  }

  private refuse(requestId: unknown, error: unknown): void {
    this.send({ type: 'error', request_id: requestId, error: errorFrame(error) })
    this.mayRead()
  }

  private send(frame: object): void {
    if (this.socket.readyState === this.socket.OPEN) this.socket.send(JSON.stringify(frame))
  }

  private mayRead(): void {
    const isFull = this.unanswered >= unansweredMax || this.stream.writableLength > unreadBytesMax
    if (isFull === this.isPaused || this.socket.readyState !== this.socket.OPEN) return
    this.isPaused = isFull
    if (isFull) this.socket.pause()
    else this.socket.resume()
  }
}

/** Of a frame that is refused unread; a large one would cost what the limit is there to save. */
function requestIdOf(data: Buffer): unknown {
  if (data.length > refusedBytesMax) return null
  const given = parseJson(data, 0, data.length, 'frame')
  return isPlainObject(given) ? (member(given, 'request_id') ?? null) : null
}

function joinOf(frame: {
  readonly room: string
  readonly after?: number | undefined
  readonly presence?: boolean | undefined
}): JoinInput {
  const { room, after, presence } = frame
  return {
    room,
    ...(after === undefined ? {} : { after }),
    ...(presence === undefined ? {} : { presence }),
  }
}
