/**
 * WebSockets as what carries the bytes between nodes, for networks where only HTTP passes. The TLS session of the mesh runs inside: a proxy on
 * the way, one that ends HTTPS included, sees a WebSocket with bytes it can neither read nor change unnoticed.
 *
 * A node has two doors, the mesh's in its main thread and the control plane's in the other, each with a path of its own; so a proxy may show
 * both under one name. Who asks one door for the other's path is sent there (307).
 *
 * Whether a proxy is on the way decides what a refused dial means: without one, nobody listens there any more; with one, it is the proxy that is
 * gone, and 502 is how it says that the node is. The accepting end shows which of its own addresses the connection came in at; where that is what
 * we connected to, there is no proxy.
 */
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import WebSocket from 'ws'
import { formatAddress, type HostPort, parseAddress } from '../../core/kernel/address.js'
import type {
  Carrier,
  DialFailure,
  DialTarget,
  Door,
  DoorEvents,
  DoorLimits,
  ReachEvents,
} from '../../engines/mesh/carrier.js'
import { type DoorName, paths, WsDoor } from './ws-door.js'
import { doorSign, doorSignHeader, messageBytesMax, openStream } from './ws-stream.js'

export interface WsCarrierOptions {
  readonly door: DoorName
  /** HTTPS to the other end: there is a proxy that ends it. */
  readonly isSecure: boolean
  /** Authorities beside the well-known ones that HTTPS certificates may come from, in PEM. */
  readonly authorities?: readonly string[]
  /** Where the other door of this node is, for who asks this one for it. */
  readonly otherDoor: () => string | undefined
}

/** Shorter than what proxies allow a silent connection to last; usually a minute. */
const keepAliveMs = 20_000
const knownMax = 4_096
const redirectsMax = 1
const untrusted = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT_|ERR_TLS_CERT)/

export class WsCarrier implements Carrier {
  private readonly options: WsCarrierOptions
  /** Of addresses reached before: whether a proxy was on the way. */
  private readonly proxied = new Map<string, boolean>()

  constructor(options: WsCarrierOptions) {
    this.options = options
  }

  makeDoor(limits: DoorLimits, events: DoorEvents): Door {
    const { door, otherDoor } = this.options
    return new WsDoor(door, otherDoor, limits, events)
  }

  /** What happens inside the WebSocket says nothing about who listens. */
  explain(): undefined {
    return undefined
  }

  reach(target: DialTarget, tls: ConnectionOptions, events: ReachEvents): () => void {
    return this.knock(target, target, tls, events, redirectsMax)
  }

  private knock(
    { address }: DialTarget,
    { host, port }: HostPort,
    tls: ConnectionOptions,
    events: ReachEvents,
    redirectsLeft: number,
  ): () => void {
    const { isSecure, door, authorities } = this.options
    const at = formatAddress(host, port)
    const url = `${isSecure ? 'wss' : 'ws'}://${at}${paths[door]}`
    const socket = new WebSocket(url, {
      perMessageDeflate: false,
      maxPayload: messageBytesMax,
      followRedirects: false,
      ...(authorities === undefined ? {} : { ca: [...authorities] }),
    })
    let leave = (): void => socket.terminate()
    let isOver = false
    const fail = (failure: DialFailure): void => {
      if (isOver) return
      isOver = true
      events.failed(failure)
    }
    // It stays: whatever goes wrong later ends the stream, which says so in its own way.
    socket.on('error', (error: NodeJS.ErrnoException) => fail(this.explainHttp(address, at, error)))
    socket.once('unexpected-response', (request, response) => {
      const { statusCode: status = 0, headers } = response
      request.destroy()
      const next = status === 307 && redirectsLeft > 0 ? readLocation(headers.location) : undefined
      if (next === undefined) {
        fail(this.explainStatus(address, status))
      } else if (!isOver) {
        isOver = true
        leave = this.knock({ address, host, port }, next, tls, events, redirectsLeft - 1)
      }
    })
    socket.once('upgrade', (response) => {
      const { headers, socket: tcp } = response
      const direct = doorSign(headers['sec-websocket-accept'], tcp.remoteAddress, tcp.remotePort)
      this.remember(at, headers[doorSignHeader] !== direct)
    })
    socket.once('open', () => {
      if (isOver) return
      isOver = true
      keepAlive(socket)
      events.reached(connectTls({ ...tls, socket: openStream(socket) }))
    })
    return () => {
      isOver = true
      leave()
    }
  }

  private explainHttp(address: string, at: string, error: NodeJS.ErrnoException): DialFailure {
    const code = error.code ?? ''
    if (code === 'ECONNREFUSED') {
      return this.proxied.get(at) === true
        ? { type: 'unreachable', detail: `the proxy at ${at} does not listen` }
        : { type: 'refused', detail: `nobody listens at ${address}` }
    }
    if (untrusted.test(code)) {
      const detail = `the HTTPS certificate at ${at} is not to be trusted (${code}); where the proxy has one of a private authority, name that authority's file in NODE_EXTRA_CA_CERTS`
      return { type: 'rejected', code: 'bad_certificate', detail }
    }
    const detail = `${address}: ${code === '' ? error.message : code}`
    if (/^HPE_|EPROTO|^ERR_SSL_/.test(code)) {
      return {
        type: 'unreachable',
        detail: `${detail}: no HTTP${this.options.isSecure ? 'S' : ''} is spoken there; all nodes need the same --transport`,
      }
    }
    return { type: 'unreachable', detail, wasReset: code === 'ECONNRESET' || code === 'EPIPE' }
  }

  private explainStatus(address: string, status: number): DialFailure {
    if (status === 502)
      return { type: 'refused', detail: `the proxy at ${address} says that nobody listens behind it (502)` }
    const detail = `${address} answers a WebSocket on ${paths[this.options.door]} with ${status}`
    if (status >= 500) return { type: 'unreachable', detail }
    return {
      type: 'unreachable',
      detail: `${detail}: it must lead to the peer port of a node with the same --transport, through proxies that pass upgrades on`,
    }
  }

  private remember(at: string, isProxied: boolean): void {
    this.proxied.delete(at)
    if (this.proxied.size >= knownMax) this.proxied.delete(this.proxied.keys().next().value as string)
    this.proxied.set(at, isProxied)
  }
}

/** Of a redirect to the other door: only where it is, never what is asked for there. */
function readLocation(location: string | undefined): HostPort | undefined {
  const address = /^\/\/([^/?#]+)\//.exec(location ?? '')?.[1]
  return address === undefined ? undefined : parseAddress(address)
}

/** Proxies end connections on which nothing happens. */
function keepAlive(socket: WebSocket): void {
  const timer = setInterval(() => socket.ping(), keepAliveMs)
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}
