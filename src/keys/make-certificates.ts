/** Certificates made: an authority, and what it signs for nodes and clients. P-256 keys. Only the command line needs this, and its library. */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'
import { SkeinError } from '../core/kernel/error.js'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const dayMs = 86_400_000
/** Clocks differ. */
const earlierMs = 300_000

export interface MadeCertificate {
  readonly cert: string
  readonly key: string
}

export interface LeafOptions {
  /** `CN`. */
  readonly name: string
  readonly uri: string
  /** Names and addresses under which an HTTPS client reaches it. */
  readonly hosts: readonly string[]
  readonly isServer: boolean
  readonly days: number
}

/** Signs nothing but leaves. */
export async function makeAuthority(clusterName: string, days: number): Promise<MadeCertificate> {
  const keys = await makeKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(days),
    name: [{ CN: [`Skein authority of ${clusterName}`] }],
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { cert: `${certificate.toString('pem')}\n`, key: await keyPem(keys.privateKey) }
}

/** Throws `bad_certificate` when the authority's files are not what they should be. */
export async function makeLeaf(authority: MadeCertificate, options: LeafOptions): Promise<MadeCertificate> {
  const { issuer, signingKey } = await readAuthority(authority)
  const keys = await makeKeys()
  const usages = [
    x509.ExtendedKeyUsage.clientAuth,
    ...(options.isServer ? [x509.ExtendedKeyUsage.serverAuth] : []),
  ]
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(options.days),
    subject: [{ CN: [options.name] }],
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages, false),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: options.uri },
        ...options.hosts.map((host) => ({
          type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const),
          value: host,
        })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return { cert: `${certificate.toString('pem')}\n`, key: await keyPem(keys.privateKey) }
}

function validity(days: number) {
  const nowMs = Date.now()
  // The first byte below 0x80, so that the number is positive in every encoding.
  const serial = Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)))
  serial[0] = (serial[0] as number) & 0x7f || 1
  return {
    serialNumber: serial.toString('hex'),
    notBefore: new Date(nowMs - earlierMs),
    notAfter: new Date(nowMs + days * dayMs),
  }
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key)
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`
}

async function readAuthority({ cert, key }: MadeCertificate) {
  try {
    const issuer = new x509.X509Certificate(cert)
    const der = x509.PemConverter.decode(key)[0] as ArrayBuffer
    const signingKey = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
    return { issuer, signingKey }
  } catch (cause) {
    throw new SkeinError(
      'bad_certificate',
      'the authority’s certificate and key cannot be read: P-256 in PEM is wanted',
      {
        cause,
      },
    )
  }
}
