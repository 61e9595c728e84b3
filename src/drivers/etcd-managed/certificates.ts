/**
 * Certificates from the cookie: whoever knows it can prove it to etcd, and nobody else gets in.
 *
 * All nodes derive the same key of an authority from the cookie (HKDF, a P-256 scalar), so no certificate travels and none is kept by
 * one node for the others; each signs a certificate for itself with it. The signing is done by the `openssl` program. The cookie is
 * thus as precious as the authority's key; with another cookie, members and clients refuse each other.
 */
import { execFile } from 'node:child_process'
import { createECDH, createPrivateKey, hkdfSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { SkeinError } from '../../core/kernel/error.js'
import { findProgram } from './process.js'

export interface Certificates {
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
}

/** In every certificate beside the node's addresses: clients ask for it, whatever address they came by. */
export const serverName = 'skein-etcd'

const run = promisify(execFile)
const daysValid = '3650'

/** Undefined without `openssl`. Made anew at each start. Throws `internal` with what openssl said. */
export async function makeCertificates(
  directory: string,
  cookie: Uint8Array,
  hosts: readonly string[],
): Promise<Certificates | undefined> {
  const openssl = findProgram('openssl')
  if (openssl === undefined) return undefined
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const at = (name: string) => join(directory, name)
  await writeFile(at('ca.key'), authorityKey(cookie), { mode: 0o600 })
  const addresses = hosts.map((host) => `${isIP(host) > 0 ? 'IP' : 'DNS'}:${host}`)
  const names = [...new Set([`DNS:${serverName}`, ...addresses])].join(',')
  const common = ['req', '-x509', '-days', daysValid]
  try {
    await run(openssl, [
      ...common,
      ...['-key', at('ca.key'), '-subj', '/CN=skein-etcd', '-out', at('ca.pem'), '-set_serial', '1'],
    ])
    await run(openssl, [
      ...common,
      ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=skein-node'],
      ...['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-keyout', at('key.pem'), '-out', at('cert.pem')],
      ...['-addext', `subjectAltName=${names}`, '-addext', 'extendedKeyUsage=serverAuth,clientAuth'],
      ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    ])
  } catch (cause) {
    throw new SkeinError('internal', 'openssl could not make the certificates for etcd', { cause })
  }
  return { caFile: at('ca.pem'), certFile: at('cert.pem'), keyFile: at('key.pem') }
}

/** The same for every node with this cookie. PEM. */
function authorityKey(cookie: Uint8Array): string {
  for (let attempt = 0; ; attempt++) {
    const info = `skein etcd authority 1 ${attempt}`
    const secret = Buffer.from(hkdfSync('sha256', cookie, new Uint8Array(), info, 32))
    const pair = createECDH('prime256v1')
    try {
      pair.setPrivateKey(secret)
    } catch {
      // Not a scalar of the curve, which happens once in 2^32 cookies.
      continue
    }
    const point = pair.getPublicKey()
    const text = (bytes: Buffer) => bytes.toString('base64url')
    const jwk = {
      kty: 'EC',
      crv: 'P-256',
      d: text(secret),
      x: text(point.subarray(1, 33)),
      y: text(point.subarray(33)),
    }
    return createPrivateKey({ format: 'jwk', key: jwk }).export({ type: 'pkcs8', format: 'pem' }) as string
  }
}
