/**
 * How two ends prove who they are: with a key from the cookie (TLS-PSK), which says "a member of this cluster", or with certificates of one
 * authority, which say which node. Everything that differs between the two is here; both are TLS 1.3. Keys and certificates can be
 * changed while connections live; whether one that lives was made with something that still counts is asked with `isStillGood`.
 */
import { X509Certificate } from 'node:crypto'
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import { type NamedNode, nodeIn } from '../../core/kernel/certificate-name.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { Certificate, TransportKeys } from '../../ports/transport.js'
import { type CookieKey, cookieKeys, pskIdentity, readPskIdentity } from './keys.js'

const pskCiphers = 'TLS_AES_128_GCM_SHA256'
const tls13 = 'TLSv1.3' as const

/** What the other end of a connection proved. */
export interface PeerProof {
  /** Which of our cookies; empty with certificates. */
  readonly keyId: string
  /** Whom its certificate names; undefined with a cookie, which names nobody. */
  readonly node?: NamedNode
  readonly certificate?: X509Certificate
  readonly expiresAtMs?: number
}

export interface Proof {
  rekey(keys: TransportKeys): void
  /** Options of a dial, and which key it shows. */
  client(nodeId: string): { readonly options: ConnectionOptions; readonly keyId: string }
  server(): TlsOptions
  /** New contexts for a server that listens already; undefined when it asks by itself. */
  serverContext(): TlsOptions | undefined
  /** After the handshake. Undefined when the other end proved nothing that counts. */
  read(socket: TLSSocket, keyId: string): PeerProof | undefined
  /** Of an inbound connection. */
  keyIdOf(socket: object): string
  /** Who an end said it was before the handshake failed; undefined when it did not get that far. */
  claimOf(socket: object): string | undefined
  isStillGood(proof: PeerProof): boolean
  /** For a person whose node was not accepted. */
  readonly rejection: { readonly code: 'bad_cookie' | 'bad_certificate'; readonly advice: string }
}

/** Throws `bad_cookie`, `bad_certificate`. */
export function makeProof(clusterName: () => string, keys: TransportKeys): Proof {
  return keys.certificate === undefined
    ? new CookieProof(keys.cookies)
    : new CertificateProof(clusterName, keys.certificate)
}

class CookieProof implements Proof {
  readonly rejection = {
    code: 'bad_cookie',
    advice: 'give all nodes of a cluster the same --cookie or --cookie-file, or all of them certificates',
  } as const
  private keys: readonly CookieKey[]
  private readonly identities = new WeakMap<object, string>()
  /** No certificate authority: only the key proves anything. */
  private readonly context = createSecureContext({ ciphers: pskCiphers, minVersion: tls13, ca: [] })

  constructor(cookies: readonly Uint8Array[]) {
    this.keys = cookieKeys(cookies)
  }

  rekey({ cookies }: TransportKeys): void {
    this.keys = cookieKeys(cookies)
  }

  client(nodeId: string) {
    const key = this.keys[0] as CookieKey
    const options: ConnectionOptions = {
      secureContext: this.context,
      minVersion: tls13,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk: key.psk, identity: pskIdentity(key, nodeId) }),
    }
    return { options, keyId: key.id }
  }

  server(): TlsOptions {
    return {
      ciphers: pskCiphers,
      minVersion: tls13,
      pskCallback: (socket, identity) => {
        this.identities.set(socket, identity)
        const { keyId } = readPskIdentity(identity)
        return this.keys.find((key) => key.id === keyId)?.psk ?? null
      },
    }
  }

  serverContext(): undefined {
    return undefined
  }

  /** With a certificate instead of the key this would be somebody else's server. */
  read(socket: TLSSocket, keyId: string): PeerProof | undefined {
    return socket.isSessionReused() ? { keyId } : undefined
  }

  keyIdOf(socket: object): string {
    return readPskIdentity(this.identities.get(socket) ?? '').keyId
  }

  claimOf(socket: object): string | undefined {
    const identity = this.identities.get(socket)
    return identity === undefined ? undefined : readPskIdentity(identity).nodeId
  }

  isStillGood({ keyId }: PeerProof): boolean {
    return this.keys.some(({ id }) => id === keyId)
  }
}

class CertificateProof implements Proof {
  readonly rejection = {
    code: 'bad_certificate',
    advice:
      'give every node a certificate of the same authority that names the cluster and the node (skein cert node), and --tls-ca',
  } as const
  private readonly clusterName: () => string
  private certificate: Certificate
  private authorities: readonly X509Certificate[]
  private context: SecureContext
  /** Verified against the authorities of now. */
  private verified = new WeakSet<X509Certificate>()

  constructor(clusterName: () => string, certificate: Certificate) {
    this.clusterName = clusterName
    this.certificate = certificate
    this.authorities = authoritiesOf(certificate.ca)
    this.context = contextOf(certificate)
  }

  rekey({ certificate }: TransportKeys): void {
    if (certificate === undefined) return
    this.context = contextOf(certificate)
    this.authorities = authoritiesOf(certificate.ca)
    this.certificate = certificate
    this.verified = new WeakSet()
  }

  client() {
    const options: ConnectionOptions = {
      secureContext: this.context,
      minVersion: tls13,
      rejectUnauthorized: true,
      // Not the host's name but the node's counts; `read` looks at it.
      checkServerIdentity: () => undefined,
    }
    return { options, keyId: '' }
  }

  server(): TlsOptions {
    // Not rejected by Node, which would not say why; `read` does.
    return { ...this.certificate, minVersion: tls13, requestCert: true, rejectUnauthorized: false }
  }

  serverContext(): TlsOptions {
    return { ...this.certificate, minVersion: tls13 }
  }

  read(socket: TLSSocket): PeerProof | undefined {
    const certificate = socket.getPeerX509Certificate()
    if (!socket.authorized || certificate === undefined) return undefined
    // Of another cluster, perhaps: that is told when both have said hello.
    const node = nodeIn(certificate.subjectAltName, this.clusterName())
    if (node === undefined) return undefined
    this.verified.add(certificate)
    return { keyId: '', node, certificate, expiresAtMs: Date.parse(certificate.validTo) }
  }

  keyIdOf(): string {
    return ''
  }

  claimOf(): undefined {
    return undefined
  }

  /** Issued by an authority that is still trusted, and not over. */
  isStillGood({ certificate, expiresAtMs }: PeerProof): boolean {
    if (certificate === undefined || (expiresAtMs ?? 0) <= Date.now()) return false
    if (this.verified.has(certificate)) return true
    const isIssued = this.authorities.some(
      (each) => certificate.checkIssued(each) && certificate.verify(each.publicKey),
    )
    if (isIssued) this.verified.add(certificate)
    return isIssued
  }
}

function contextOf(certificate: Certificate): SecureContext {
  try {
    return createSecureContext({ ...certificate, minVersion: tls13 })
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause)
    throw new SkeinError('bad_certificate', `certificate, key and authority do not fit: ${detail}`, { cause })
  }
}

function authoritiesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}
