/**
 * One attempt to reach a peer: TCP, then TLS 1.3, within one deadline. What a failure means is
 * said here once; when to try again is the peer's business.
 */
import { connect, type TLSSocket } from 'node:tls'
import { parseAddress } from '../../core/kernel/address.js'
import type { PeerProof, Proof } from './proof.js'

export type DialFailure =
  | { readonly type: 'refused'; readonly detail: string }
  /** `wasReset`: somebody listened and went away before it said anything. */
  | { readonly type: 'unreachable'; readonly detail: string; readonly wasReset?: boolean }
  | { readonly type: 'rejected'; readonly code: string; readonly detail: string }

export interface DialOptions {
  readonly address: string
  readonly proof: Proof
  readonly nodeId: string
  readonly timeoutMs: number
}

export interface Dialled {
  readonly socket: TLSSocket
  readonly proof: PeerProof
}

/** Calls `done` once. Returns a way to give up, after which `done` is not called. */
export function dial(options: DialOptions, done: (result: Dialled | DialFailure) => void): () => void {
  const { address, proof, nodeId } = options
  const target = parseAddress(address)
  if (target === undefined) {
    const detail = `"${address}" is not host:port`
    const soon = setImmediate(() => done({ type: 'unreachable', detail }))
    return () => clearImmediate(soon)
  }
  const { options: tls, keyId } = proof.client(nodeId)
  const socket = connect({ ...target, ...tls })
  let failure: DialFailure | undefined
  const finish = (): void => {
    clearTimeout(timer)
    const detail = `${address} closed the connection during the handshake`
    done(failure ?? { type: 'unreachable', detail, wasReset: true })
  }
  const onError = (error: NodeJS.ErrnoException): void => {
    failure ??= explain(address, error, proof)
  }
  const timer = setTimeout(() => {
    const detail = `${address} did not answer within ${options.timeoutMs} ms`
    failure ??= { type: 'unreachable', detail }
    socket.destroy()
  }, options.timeoutMs)
  socket.once('error', onError)
  socket.once('close', finish)
  socket.once('secureConnect', () => {
    const peer = proof.read(socket, keyId)
    if (peer === undefined) {
      failure = { type: 'unreachable', detail: `${address} is no node of this cluster` }
      socket.destroy()
      return
    }
    clearTimeout(timer)
    socket.off('close', finish)
    done({ socket, proof: peer })
    socket.off('error', onError)
  })
  return () => {
    clearTimeout(timer)
    socket.off('close', finish)
    socket.destroy()
  }
}

const untrusted = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT_|ERR_TLS_CERT)/

/** An end with certificates may be told after the handshake, in place of a hello: hence exported. */
export function explain(address: string, error: NodeJS.ErrnoException, { rejection }: Proof): DialFailure {
  const code = error.code ?? ''
  if (code === 'ECONNREFUSED') return { type: 'refused', detail: `nobody listens at ${address}` }
  if (code.startsWith('ERR_SSL_') && code.includes('_ALERT_')) {
    return {
      type: 'rejected',
      code: rejection.code,
      detail: `${address} does not accept this node's ${rejection.code === 'bad_cookie' ? 'cookie' : 'certificate'}; ${rejection.advice} (${code})`,
    }
  }
  if (untrusted.test(code)) {
    const detail = `the certificate of ${address} is not to be trusted (${code}); ${rejection.advice}`
    return { type: 'rejected', code: 'bad_certificate', detail }
  }
  if (code.startsWith('ERR_SSL_')) {
    return { type: 'unreachable', detail: `${address} does not speak the peer protocol (${code})` }
  }
  const detail = `${address}: ${code === '' ? error.message : code}`
  return { type: 'unreachable', detail, wasReset: code === 'ECONNRESET' || code === 'EPIPE' }
}
