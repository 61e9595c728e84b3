/**
 * A client of rooms that outlives the node it is connected to: it goes on with its session at another one, says where it is in each room, and so gets
 * what it missed, once. What it was asked for and was not answered is asked again, where that can do no harm.
 */
import { Addresses } from './addresses.js'
import { Connection, type Frame } from './connection.js'
import { Emitter } from './emitter.js'
import type {
  Broadcasted,
  ClientEvents,
  ClientOptions,
  JoinOptions,
  Member,
  Message,
  PresenceChange,
  Problem,
  WebSocketConstructor,
} from './types.js'

export class ClientError extends Error {
  override readonly name = 'ClientError'
  readonly code: string
  readonly retryable: boolean

  constructor({ code, detail, retryable }: Problem) {
    super(detail)
    this.code = code
    this.retryable = retryable ?? false
  }
}

interface Request {
  readonly id: string
  /** The frame as it is sent, each time. */
  readonly text: string
  /** May be sent again though it may have been carried out. */
  readonly isRepeatable: () => boolean
  readonly done: (answer: Frame) => void
  readonly failed: (error: ClientError) => void
  readonly timer: ReturnType<typeof setTimeout>
  /** On this connection. */
  sentOn: Connection | undefined
}

interface JoinedRoom {
  readonly presence: boolean
  /** Null where there is no history, undefined while it is not known. */
  position: number | null | undefined
}

const requestsMax = 10_000
/** A node closes the connection over a larger one, and would do so each time that it is sent again. */
const frameBytesMax = 300_000
/** Rooms that were left, as long as some node might not know. */
const leftMax = 1_000
/** After a loss, so that a thousand clients do not come in one moment. */
const firstDelayMs = 100

export class SkeinClient extends Emitter<ClientEvents> {
  private readonly options: ClientOptions
  private readonly addresses: Addresses
  private readonly rooms = new Map<string, JoinedRoom>()
  /** What the cluster may still believe this client to be in. */
  private readonly left = new Set<string>()
  private readonly requests = new Map<string, Request>()
  private Socket: WebSocketConstructor | undefined
  /** Answered with hello. */
  private current: Connection | undefined
  /** On its way. */
  private next: Connection | undefined
  private retryTimer: ReturnType<typeof setTimeout> | undefined
  private retries = 0
  private resume: string | undefined
  private nextId = 0
  private isClosed = false
  private readonly idPrefix = Math.random().toString(36).slice(2, 10)
  session = ''
  user = ''
  /** The node it is connected to; empty while it is not. */
  node = ''

  /** Connects at once. */
  constructor(options: ClientOptions = {}) {
    super()
    this.options = options
    this.resume = options.resume
    for (const { room, after, presence = false } of options.rooms ?? [])
      this.rooms.set(room, { presence, position: after })
    this.addresses = new Addresses(givenAddresses(options), options.discover ?? true, Math.random)
    void this.start()
  }

  get isConnected(): boolean {
    return this.current !== undefined
  }

  /** To go on with this session in another client: after a reload of the page, say. Keep it as you would a password. */
  get resumeToken(): string | undefined {
    return this.resume
  }

  /** Resolves when it is connected, at once if it is. */
  ready(): Promise<void> {
    if (this.isClosed) return Promise.reject(closedError())
    if (this.current !== undefined) return Promise.resolve()
    return new Promise((resolve) => this.once('connected', () => resolve()))
  }

  /** Resolves when this client is in the room; it stays there, whatever node it is connected to, until it leaves. */
  async join(room: string, options: JoinOptions = {}): Promise<{ readonly position: number | null }> {
    const known = this.rooms.get(room)
    if (known?.position !== undefined) return { position: known.position }
    this.left.delete(room)
    const { after, presence = false } = options
    const entry: JoinedRoom = known ?? { presence, position: after }
    const frame = {
      type: 'join',
      room,
      ...(after === undefined ? {} : { after }),
      ...(presence ? { presence } : {}),
    }
    // At once with the answer: messages may come right behind it.
    const apply = ({ position }: Frame): void => {
      entry.position = (position as number | null) ?? null
      this.rooms.set(room, entry)
    }
    await this.ask(frame, () => true, apply)
    return { position: entry.position ?? null }
  }

  async leave(room: string): Promise<void> {
    this.rooms.delete(room)
    this.left.add(room)
    if (this.left.size > leftMax) for (const oldest of this.left) if (this.left.delete(oldest)) break
    await this.ask({ type: 'leave', room }, () => true)
  }

  /**
   * To all in the room; with history resolves once it is durable. Where the connection is lost before the answer: in a room with history that this
   * client is in it is sent again, and stored once; elsewhere it rejects with `outcome_unknown`.
   */
  async broadcast(
    room: string,
    data: unknown,
    options: { readonly except?: readonly string[]; readonly id?: string } = {},
  ): Promise<Broadcasted> {
    const id = options.id ?? `${this.idPrefix}${(++this.nextId).toString(36)}`
    const { except } = options
    const frame = { type: 'broadcast', room, data, id, ...(except === undefined ? {} : { except }) }
    const answer = await this.ask(frame, () => typeof this.rooms.get(room)?.position === 'number')
    return answer as unknown as Broadcasted
  }

  /** Who is there now, over all nodes. */
  async presence(room: string): Promise<{ readonly clients: number; readonly members: readonly Member[] }> {
    const { clients, members } = await this.ask({ type: 'presence', room }, () => true)
    return { clients: clients as number, members: members as readonly Member[] }
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    clearTimeout(this.retryTimer)
    const address = this.current?.address ?? ''
    this.current?.close('done')
    this.next?.close('done')
    this.current = undefined
    this.node = ''
    for (const id of [...this.requests.keys()]) this.settle(id)?.failed(closedError())
    this.emit('disconnected', { address, reason: 'closed by this client', final: true })
  }

  // --- connecting -------------------------------------------------------------------------------------------------------

  private async start(): Promise<void> {
    this.Socket = this.options.WebSocket ?? (await findWebSocket())
    this.connect(this.addresses.next())
  }

  private connect(address: string): void {
    if (this.isClosed || this.next !== undefined) return
    const connection: Connection = new Connection(address, this.options.silenceMs ?? 10_000, {
      hello: () => this.hello(),
      frame: (frame) => this.received(connection, frame),
      ended: (reason) => this.ended(connection, reason),
    })
    this.next = connection
    const { token } = this.options
    const protocols = token === undefined ? [] : ['skein', `skein.token.${token}`]
    connection.open(this.Socket as WebSocketConstructor, protocols)
  }

  private hello(): object {
    const { user } = this.options
    const rooms = [...this.rooms].map(([room, { position, presence }]) => ({
      room,
      ...(typeof position === 'number' ? { after: position } : {}),
      ...(presence ? { presence } : {}),
    }))
    return {
      type: 'hello',
      ...(user === undefined ? {} : { user }),
      ...(this.resume === undefined ? {} : { resume: this.resume }),
      ...(rooms.length === 0 ? {} : { rooms }),
    }
  }

  private ended(connection: Connection, reason: string): void {
    this.addresses.failed(connection.address)
    if (connection === this.next) this.next = undefined
    if (connection === this.current) {
      this.current = undefined
      this.node = ''
      this.emit('disconnected', { address: connection.address, reason, final: false })
    }
    if (this.current === undefined) this.retry()
  }

  private retry(): void {
    if (this.isClosed || this.retryTimer !== undefined || this.next !== undefined) return
    const { backoffMinMs = 100, backoffMaxMs = 5_000 } = this.options
    // All that are known are tried before it waits longer.
    const round = Math.floor(this.retries / Math.max(1, this.addresses.count))
    const most =
      this.retries === 0 ? firstDelayMs : Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(round, 20))
    this.retries++
    this.retryTimer = setTimeout(() => {
      this.retryTimer = undefined
      this.connect(this.addresses.next())
    }, Math.random() * most)
  }

  // --- frames -----------------------------------------------------------------------------------------------------------

  private received(connection: Connection, frame: Frame): void {
    if (connection === this.next) {
      this.answered(connection, frame)
      return
    }
    if (connection !== this.current) return
    switch (frame.type) {
      case 'message':
        this.message(frame as unknown as Message)
        break
      case 'ack':
        this.settle(String(frame.request_id))?.done(frame)
        break
      case 'joined':
        this.joined(frame as unknown as { room: string; position: number | null })
        break
      case 'presence':
        this.emit('presence', frame as unknown as PresenceChange)
        break
      case 'lagged':
        this.emit('lagged', { missed: Number(frame.missed) })
        break
      case 'migrate':
        this.migrate(frame as unknown as Parameters<SkeinClient['migrate']>[0])
        break
      case 'error':
        this.problem(frame)
        break
      default:
        break
    }
  }

  /** The first frame of a new connection: hello, or why not. */
  private answered(connection: Connection, frame: Frame): void {
    if (frame.type === 'error') {
      const problem = frame.error as Problem
      this.emit('error', problem)
      connection.close('refused')
      this.next = undefined
      this.addresses.failed(connection.address)
      if (problem.retryable === true) this.retry()
      else if (this.resume !== undefined) {
        this.resume = undefined
        this.retry()
      } else this.close()
      return
    }
    if (frame.type !== 'hello') return
    this.next = undefined
    this.current?.close('the session goes on elsewhere')
    this.current = connection
    this.retries = 0
    const hello = frame as unknown as {
      session: string
      user: string
      node: string
      resume: string
      resumed: boolean
      addresses: string[]
    }
    this.resume = hello.resume
    this.session = hello.session
    this.user = hello.user
    this.node = hello.node
    this.addresses.learn(hello.addresses)
    for (const request of this.requests.values()) this.sendAgain(request)
    const { session, user, node, resumed } = hello
    this.emit('connected', { session, user, node, resumed, address: connection.address })
  }

  private message(message: Message): void {
    const { position } = message
    if (position !== undefined) {
      const room = this.rooms.get(message.room)
      if (typeof room?.position === 'number' && position <= room.position) return
      if (room !== undefined) room.position = position
    }
    this.emit('message', message)
  }

  /** After a new connection: rooms of ours, and those that the session was in; one that was left meanwhile is left there too. */
  private joined({ room, position }: { readonly room: string; readonly position: number | null }): void {
    const known = this.rooms.get(room)
    if (known !== undefined) known.position ??= position
    else if (this.left.has(room)) void this.ask({ type: 'leave', room }, () => true).catch(() => {})
    else this.rooms.set(room, { presence: false, position })
  }

  private migrate(frame: {
    readonly reason: string
    readonly target: { readonly address: string }
    readonly addresses: readonly string[]
  }): void {
    const { reason, target, addresses } = frame
    const from = this.current as Connection
    this.addresses.failed(from.address)
    this.addresses.learn(addresses)
    this.emit('migrate', { reason, target: target.address })
    const go = (): void => {
      if (this.current === from) this.connect(target.address)
    }
    setTimeout(go, Math.random() * firstDelayMs)
  }

  private problem(frame: Frame): void {
    const problem = frame.error as Problem
    const request = typeof frame.request_id === 'string' ? this.settle(frame.request_id) : undefined
    if (request !== undefined) request.failed(new ClientError(problem))
    else this.emit('error', { ...problem, ...(typeof frame.room === 'string' ? { room: frame.room } : {}) })
  }

  // --- requests ---------------------------------------------------------------------------------------------------------

  private ask(
    frame: Readonly<Record<string, unknown>>,
    isRepeatable: () => boolean,
    apply: (answer: Frame) => void = () => {},
  ): Promise<Frame> {
    if (this.isClosed) return Promise.reject(closedError())
    if (this.requests.size >= requestsMax)
      return Promise.reject(
        new ClientError({
          code: 'overloaded',
          detail: `${requestsMax} requests wait for an answer`,
          retryable: true,
        }),
      )
    const id = `r${++this.nextId}`
    const text = JSON.stringify({ ...frame, request_id: id })
    if (isLarger(text, frameBytesMax))
      return Promise.reject(
        new ClientError({
          code: 'payload_too_large',
          detail: `${String(frame.type)}: a frame has at most ${frameBytesMax} bytes`,
        }),
      )
    return new Promise((done, failed) => {
      const timeoutMs = this.options.requestTimeoutMs ?? 30_000
      const timer = setTimeout(() => {
        const wasSent = this.settle(id)?.sentOn !== undefined
        const detail = `${String(frame.type)}: no answer within ${timeoutMs} ms`
        failed(
          new ClientError({ code: wasSent ? 'outcome_unknown' : 'timeout', detail, retryable: !wasSent }),
        )
      }, timeoutMs)
      const request: Request = {
        id,
        text,
        isRepeatable,
        done: (answer) => {
          apply(answer)
          done(answer)
        },
        failed,
        timer,
        sentOn: undefined,
      }
      this.requests.set(id, request)
      this.sendAgain(request)
    })
  }

  private sendAgain(request: Request): void {
    const { current } = this
    if (current === undefined) return
    if (request.sentOn !== undefined && request.sentOn !== current && !request.isRepeatable()) {
      this.settle(request.id)
      const detail = 'the connection was lost before the answer'
      request.failed(new ClientError({ code: 'outcome_unknown', detail }))
      return
    }
    if (current.send(request.text)) request.sentOn = current
  }

  private settle(id: string): Request | undefined {
    const request = this.requests.get(id)
    if (request === undefined) return undefined
    this.requests.delete(id)
    clearTimeout(request.timer)
    return request
  }
}

/** In UTF-8, where a character of a string takes at most three bytes. */
function isLarger(text: string, bytesMax: number): boolean {
  return text.length * 3 > bytesMax && new TextEncoder().encode(text).length > bytesMax
}

function closedError(): ClientError {
  return new ClientError({ code: 'closed', detail: 'this client is closed' })
}

function givenAddresses({ addresses }: ClientOptions): readonly string[] {
  if (addresses !== undefined && addresses.length > 0) return addresses
  const { location } = globalThis as { location?: { readonly origin: string } }
  if (location === undefined)
    throw new ClientError({ code: 'bad_config', detail: 'addresses: none was given' })
  return [location.origin]
}

async function findWebSocket(): Promise<WebSocketConstructor> {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketConstructor }
  if (WebSocket !== undefined) return WebSocket
  return (await import('ws')).WebSocket as unknown as WebSocketConstructor
}
