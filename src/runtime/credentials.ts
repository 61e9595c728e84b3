/**
 * What a node proves itself with, and what it knows others by: cookies, certificates, tokens. Loaded at start, followed while it runs; who must
 * know of a change is told. Nothing of their content is ever logged.
 */
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { nodeIdIn } from '../core/kernel/certificate-name.js'
import {
  CertificateKeeper,
  expiresAtMs,
  type LoadedCertificate,
  loadCertificate,
} from '../keys/certificate-files.js'
import { CookieKeeper, cookieBytesWanted } from '../keys/cookie.js'
import { TokenKeeper } from '../keys/tokens.js'
import type { TransportKeys } from '../ports/transport.js'
import type { Log } from './log.js'
import type { NodeConfig } from './node-api.js'

const keptOn = 'what was read before stays in force'

export interface HttpsFiles {
  readonly current: LoadedCertificate
  onChange: (certificate: LoadedCertificate) => void
}

export class Credentials {
  readonly tokens: TokenKeeper | undefined
  readonly https: HttpsFiles | undefined
  /** Called with all keys whenever one of them changed. */
  onRekey: (keys: TransportKeys) => void = () => {}
  private readonly cookies: CookieKeeper | undefined
  private readonly certificate: CertificateKeeper | undefined
  private readonly ownSecret = [randomBytes(32)]
  private readonly closers: (() => void)[] = []

  /** Throws `bad_cookie`, `bad_certificate`, `bad_config`. */
  constructor(config: NodeConfig, nodeId: string, log: Log) {
    this.certificate = this.followCertificate(config, nodeId, log)
    const wantsCookie = config.cookie !== undefined || config.cookieFile !== undefined
    if (this.certificate === undefined || wantsCookie) this.cookies = this.followCookies(config, log)
    if (config.http) {
      this.tokens = this.followTokens(config, log)
      this.https = this.followHttps(config, log)
    }
  }

  get keys(): TransportKeys {
    return { cookies: this.cookies?.current ?? [], certificate: this.certificate?.current }
  }

  /** For the seals of log-ins: the cluster's where it has one, else this process's own. */
  get secrets(): readonly Uint8Array[] {
    return this.cookies?.current ?? this.ownSecret
  }

  /** When they end, wall clock, ms: the node's own, the first of its authorities, that of HTTPS. */
  expiries(): readonly { readonly certificate: string; readonly atMs: number }[] {
    const node = this.certificate?.current
    const https = this.https?.current
    return [
      ...(node === undefined
        ? []
        : [
            { certificate: 'node', atMs: expiresAtMs(node.cert) },
            { certificate: 'authority', atMs: expiresAtMs(node.ca) },
          ]),
      ...(https === undefined ? [] : [{ certificate: 'https', atMs: expiresAtMs(https.cert) }]),
    ]
  }

  close(): void {
    for (const close of this.closers.splice(0)) close()
  }

  private followed<K extends { close(): void }>(keeper: K): K {
    this.closers.push(() => keeper.close())
    return keeper
  }

  private followCookies({ cookie, cookieFile, dataDir }: NodeConfig, log: Log): CookieKeeper {
    const sharedFile = join(dirname(dataDir), 'cookie')
    return this.followed(
      new CookieKeeper(
        { cookie, cookieFile, sharedFile },
        {
          changed: (cookies) => {
            log('info', 'cookies.changed', { cookies: cookies.length })
            this.onRekey(this.keys)
          },
          refused: (detail) => log('error', 'cookies.unusable', { detail, effect: keptOn }),
          weak: (bytes) => {
            const detail = `this cookie can be guessed by whoever records one handshake: make one of ${cookieBytesWanted} random bytes with skein cookie`
            log('warn', 'cookie.weak', { bytes, detail })
          },
        },
      ),
    )
  }

  private followCertificate(config: NodeConfig, nodeId: string, log: Log): CertificateKeeper | undefined {
    const { tlsCa: ca, tlsCert: cert, tlsKey: key, clusterName } = config
    if (ca === undefined || cert === undefined || key === undefined) return undefined
    const files = { ca, cert, key }
    const nodeOf = (names: string | undefined) => nodeIdIn(names, clusterName)
    return this.followed(
      new CertificateKeeper(files, () => loadCertificate(files, { nodeId, nodeOf }), {
        changed: () => {
          log('info', 'certificate.changed', { file: cert })
          this.onRekey(this.keys)
        },
        refused: (detail) => log('error', 'certificate.unusable', { detail, effect: keptOn }),
      }),
    )
  }

  /** Clients may show a certificate of the mesh's authority instead of a token. */
  private followHttps(config: NodeConfig, log: Log): HttpsFiles | undefined {
    const { tlsCa: ca, httpsCert: cert, httpsKey: key } = config
    if (cert === undefined || key === undefined) return undefined
    const files = { ca, cert, key }
    const keeper = new CertificateKeeper(files, () => loadCertificate(files), {
      changed: (certificate) => {
        log('info', 'https.changed', { file: cert })
        https.onChange(certificate)
      },
      refused: (detail) => log('error', 'https.unusable', { detail, effect: keptOn }),
    })
    const https: HttpsFiles = {
      get current() {
        return keeper.current
      },
      onChange: () => {},
    }
    this.followed(keeper)
    return https
  }

  private followTokens({ tokenFile }: NodeConfig, log: Log): TokenKeeper | undefined {
    if (tokenFile === undefined) return undefined
    const keeper = this.followed(
      new TokenKeeper(tokenFile, {
        changed: (tokens) => log('info', 'tokens.changed', { file: tokenFile, tokens }),
        refused: (detail) => log('error', 'tokens.unusable', { detail, effect: keptOn }),
      }),
    )
    if (!keeper.isRequired) {
      const effect = 'whoever reaches the HTTP port may do anything'
      log('warn', 'tokens.none', { file: tokenFile, effect })
    }
    return keeper
  }
}
