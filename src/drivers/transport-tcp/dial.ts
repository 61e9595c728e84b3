/**
 * One attempt to reach a peer: TCP, then TLS 1.3 with the pre-shared key, within one deadline. What a failure means is
 * said here once; when to try again is the peer's business.
 */
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import { parseAddress } from '../../core/kernel/address.js'
import { type CookieKey, pskIdentity } from './keys.js'

export const tlsCiphers = 'TLS_AES_128_GCM_SHA256'

export type DialFailure =
  | { readonly type: 'refused'; readonly detail: string }
  /** `wasReset`: somebody listened and went away before it said anything. */
  | { readonly type: 'unreachable'; readonly detail: string; readonly wasReset?: boolean }
  | { readonly type: 'rejected'; readonly code: string; readonly detail: string }

export interface DialOptions {
  readonly address: string
  readonly key: CookieKey
  readonly nodeId: string
  readonly context: SecureContext
  readonly timeoutMs: number
}

/** No certificate authority: only the key proves anything. */
export function makeClientContext(): SecureContext {
  return createSecureContext({ ciphers: tlsCiphers, minVersion: 'TLSv1.3', ca: [] })
}

/** Calls `done` once. Returns a way to give up, after which `done` is not called. */
export function dial(options: DialOptions, done: (result: TLSSocket | DialFailure) => void): () => void {
  const { address, key, nodeId } = options
  const target = parseAddress(address)
  if (target === undefined) {
    const detail = `"${address}" is not host:port`
    const soon = setImmediate(() => done({ type: 'unreachable', detail }))
    return () => clearImmediate(soon)
  }
  const socket = connect({
    ...target,
    secureContext: options.context,
    minVersion: 'TLSv1.3',
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: key.psk, identity: pskIdentity(key, nodeId) }),
  })
  let failure: DialFailure | undefined
  const finish = (): void => {
    clearTimeout(timer)
    const detail = `${address} closed the connection during the handshake`
    done(failure ?? { type: 'unreachable', detail, wasReset: true })
  }
  const onError = (error: NodeJS.ErrnoException): void => {
    failure ??= explain(address, error)
  }
  const timer = setTimeout(() => {
    const detail = `${address} did not answer within ${options.timeoutMs} ms`
    failure ??= { type: 'unreachable', detail }
    socket.destroy()
  }, options.timeoutMs)
  socket.once('error', onError)
  socket.once('close', finish)
  socket.once('secureConnect', () => {
    // With a certificate instead of the key this would be somebody else's server.
    if (!socket.isSessionReused()) {
      failure = { type: 'unreachable', detail: `${address} does not know the peer protocol` }
      socket.destroy()
      return
    }
    clearTimeout(timer)
    socket.off('close', finish)
    done(socket)
    socket.off('error', onError)
  })
  return () => {
    clearTimeout(timer)
    socket.off('close', finish)
    socket.destroy()
  }
}

function explain(address: string, error: NodeJS.ErrnoException): DialFailure {
  const code = error.code ?? ''
  if (code === 'ECONNREFUSED') return { type: 'refused', detail: `nobody listens at ${address}` }
  if (code.startsWith('ERR_SSL_') && code.includes('_ALERT_')) {
    return {
      type: 'rejected',
      code: 'bad_cookie',
      detail: `${address} does not accept this node's cookie; give all nodes of a cluster the same --cookie or --cookie-file (${code})`,
    }
  }
  if (code.startsWith('ERR_SSL_')) {
    return { type: 'unreachable', detail: `${address} does not speak the peer protocol (${code})` }
  }
  const detail = `${address}: ${code === '' ? error.message : code}`
  return { type: 'unreachable', detail, wasReset: code === 'ECONNRESET' || code === 'EPIPE' }
}
