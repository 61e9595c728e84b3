/** Certificates in files, as a running node holds them: checked, and looked at again while it runs. Making them is `make-certificates.ts`. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { SkeinError } from '../core/kernel/error.js'
import { FileWatch, readSecretFile } from './secret-file.js'

const code = 'bad_certificate'

export interface CertificateFiles {
  /** Authorities that are trusted; absent where nobody has to show a certificate. */
  readonly ca?: string | undefined
  readonly cert: string
  readonly key: string
}

/** In PEM. */
export interface LoadedCertificate {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** Throws `bad_certificate` for what no peer would accept. `nodeOf`: finds the node among the certificate's names, and `nodeId` is who it must be. */
export function loadCertificate(
  files: CertificateFiles,
  mustName?: { readonly nodeId: string; readonly nodeOf: (names: string | undefined) => string | undefined },
): LoadedCertificate {
  const key = readSecretFile(files.key, { what: 'key file', code })
  const cert = readPublic(files.cert)
  const ca = files.ca === undefined ? '' : readPublic(files.ca)
  const parsed = parse(cert, files.cert)
  if (!parsed.checkPrivateKey(privateKey(key, files.key)))
    throw refused(`${files.key} is not the key of ${files.cert}`)
  const nowMs = Date.now()
  if (Date.parse(parsed.validTo) <= nowMs) throw refused(`${files.cert} was valid until ${parsed.validTo}`)
  if (Date.parse(parsed.validFrom) > nowMs + 60_000)
    throw refused(`${files.cert} is valid from ${parsed.validFrom} on, which is to come`)
  if (files.ca !== undefined) parse(ca, files.ca)
  if (mustName !== undefined) {
    const named = mustName.nodeOf(parsed.subjectAltName)
    if (named !== mustName.nodeId) {
      const who = named === undefined ? 'no node of this cluster' : `node "${named}"`
      throw refused(`${files.cert} names ${who}, this is "${mustName.nodeId}": make one with skein cert node`)
    }
  }
  return { ca, cert, key }
}

/** When the first of these certificates is over, wall clock, ms. */
export function expiresAtMs(pem: string): number {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return Math.min(...blocks.map((block) => Date.parse(new X509Certificate(block).validTo)))
}

function readPublic(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read'
    throw new SkeinError(code, `certificate file ${path} ${reason}`, { cause })
  }
}

function parse(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new SkeinError(code, `${path} is no certificate in PEM`, { cause })
  }
}

function privateKey(pem: string, path: string) {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new SkeinError(code, `${path} is no private key in PEM, or is encrypted`, { cause })
  }
}

function refused(detail: string): SkeinError {
  return new SkeinError(code, detail)
}

export interface CertificateNotes {
  changed(certificate: LoadedCertificate): void
  /** The files cannot be used as they are now, perhaps because only one of them is new yet; what was read before stays in force. */
  refused(detail: string): void
}

/** A certificate that follows its files. */
export class CertificateKeeper {
  private certificate: LoadedCertificate
  private readonly watch: FileWatch

  /** `load` throws `bad_certificate`. */
  constructor(
    files: CertificateFiles,
    load: () => LoadedCertificate,
    notes: CertificateNotes,
    periodMs?: number,
  ) {
    this.certificate = load()
    const paths = [files.cert, files.key, ...(files.ca === undefined ? [] : [files.ca])]
    this.watch = new FileWatch(
      paths,
      () => {
        try {
          this.certificate = load()
        } catch (error) {
          notes.refused(error instanceof Error ? error.message : String(error))
          return
        }
        notes.changed(this.certificate)
      },
      periodMs,
    )
  }

  get current(): LoadedCertificate {
    return this.certificate
  }

  close(): void {
    this.watch.close()
  }
}
