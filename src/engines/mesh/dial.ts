/**
 * One attempt to reach a peer: the carrier's connection, then TLS 1.3, within one deadline. What a failure means is
 * said here once; when to try again is the peer's business.
 */
import type { TLSSocket } from 'node:tls'
import { parseAddress } from '../../core/kernel/address.js'
import type { Carrier, DialFailure } from './carrier.js'
import type { PeerProof, Proof } from './proof.js'

export interface DialOptions {
  readonly address: string
  readonly carrier: Carrier
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
  const { address, carrier, proof, nodeId } = options
  const target = parseAddress(address)
  if (target === undefined) {
    const detail = `"${address}" is not host:port`
    const soon = setImmediate(() => done({ type: 'unreachable', detail }))
    return () => clearImmediate(soon)
  }
  const { options: tls, keyId } = proof.client(nodeId)
  let leaveHandshake: (() => void) | undefined
  const settle = (result: Dialled | DialFailure): void => {
    clearTimeout(timer)
    done(result)
  }
  const timer = setTimeout(() => {
    leave()
    done({ type: 'unreachable', detail: `${address} did not answer within ${options.timeoutMs} ms` })
  }, options.timeoutMs)
  const abandon = carrier.reach({ ...target, address }, tls, {
    failed: settle,
    reached: (socket) => {
      leaveHandshake = handshake(socket, options, keyId, settle)
    },
  })
  const leave = (): void => (leaveHandshake ?? abandon)()
  return () => {
    clearTimeout(timer)
    leave()
  }
}

function handshake(
  socket: TLSSocket,
  { address, carrier, proof }: DialOptions,
  keyId: string,
  done: (result: Dialled | DialFailure) => void,
): () => void {
  let failure: DialFailure | undefined
  const finish = (): void => {
    const detail = `${address} closed the connection during the handshake`
    done(failure ?? { type: 'unreachable', detail, wasReset: true })
  }
  const onError = (error: NodeJS.ErrnoException): void => {
    failure ??= explain(address, error, carrier, proof)
  }
  socket.once('error', onError)
  socket.once('close', finish)
  socket.once('secureConnect', () => {
    const peer = proof.read(socket, keyId)
    if (peer === undefined) {
      failure = { type: 'unreachable', detail: `${address} is no node of this cluster` }
      socket.destroy()
      return
    }
    socket.off('close', finish)
    done({ socket, proof: peer })
    socket.off('error', onError)
  })
  return () => {
    socket.off('close', finish)
    // What still goes wrong with it is nobody's concern any more.
    socket.on('error', () => undefined)
    socket.destroy()
  }
}

const untrusted = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT_|ERR_TLS_CERT)/

/** An end with certificates may be told after the handshake, in place of a hello: hence exported. */
export function explain(
  address: string,
  error: NodeJS.ErrnoException,
  carrier: Carrier,
  { rejection }: Proof,
): DialFailure {
  const known = carrier.explain(address, error)
  if (known !== undefined) return known
  const code = error.code ?? ''
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
    const detail = `${address} does not speak the peer protocol (${code}); all nodes need the same --transport`
    return { type: 'unreachable', detail }
  }
  const detail = `${address}: ${code === '' ? error.message : code}`
  return { type: 'unreachable', detail, wasReset: code === 'ECONNRESET' || code === 'EPIPE' }
}
