/** Certificates as they are made, read by Node's own eyes; and what is refused of those in files. */
import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clientIn, clientUri, nodeIdIn, nodeUri } from '../../src/core/kernel/certificate-name.js'
import { CertificateKeeper, expiresAtMs, loadCertificate } from '../../src/keys/certificate-files.js'
import { type MadeCertificate, makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import { until } from '../transport/kit.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-certs-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let authority: MadeCertificate
const leaf = (id: string, days = 1) =>
  makeLeaf(authority, { name: id, uri: nodeUri('c', id), hosts: ['h', '127.0.0.1'], isServer: true, days })

beforeAll(async () => {
  authority = await makeAuthority('c', 10)
})

let files = 0
function inFiles(made: MadeCertificate, mode = 0o600) {
  const base = join(dir, `${++files}`)
  writeFileSync(`${base}.crt`, made.cert)
  writeFileSync(`${base}.key`, made.key, { mode })
  writeFileSync(`${base}.ca`, authority.cert)
  return { ca: `${base}.ca`, cert: `${base}.crt`, key: `${base}.key` }
}

describe('a certificate', () => {
  it('of a node is issued by the authority, names the node, and is good for both ends of a connection', async () => {
    const ca = new X509Certificate(authority.cert)
    const made = new X509Certificate((await leaf('n1')).cert)
    expect(made.checkIssued(ca) && made.verify(ca.publicKey)).toBe(true)
    expect(ca.ca).toBe(true)
    expect(made.ca).toBe(false)
    expect(made.subjectAltName).toBe('URI:skein://c/node/n1, DNS:h, IP Address:127.0.0.1')
    expect(made.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1'])
    expect(Date.parse(made.validTo) - Date.now()).toBeLessThan(86_400_001)
    expect(new X509Certificate((await leaf('n1')).cert).serialNumber).not.toBe(made.serialNumber)
  })

  it('names a node or a client, never both, and no other cluster’s', () => {
    const node = `DNS:x, URI:${nodeUri('c', 'n1')}`
    const client = `URI:${clientUri('c', 'admin', 'me')}`
    expect([nodeIdIn(node, 'c'), nodeIdIn(node, 'd'), nodeIdIn(client, 'c')]).toEqual([
      'n1',
      undefined,
      undefined,
    ])
    expect(clientIn(client, 'c')).toEqual({ role: 'admin', name: 'me' })
    expect([clientIn(node, 'c'), clientIn(client, 'd'), clientIn(undefined, 'c')]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
    // A name that only looks like one: Node puts it in quotes.
    expect(nodeIdIn('DNS:"x, URI:skein://c/node/n1"', 'c')).toBeUndefined()
  })
})

describe('the end', () => {
  it('of several certificates is that of the first to go', async () => {
    const [short, long] = [(await leaf('n1', 1)).cert, (await leaf('n2', 9)).cert]
    const hours = (pem: string): number => Math.round((expiresAtMs(pem) - Date.now()) / 3_600_000)
    expect(hours(long)).toBe(9 * 24)
    expect(hours(`${long}\n${short}`)).toBe(24)
  })
})

describe('files', () => {
  const mustName = (nodeId: string) => ({
    nodeId,
    nodeOf: (names: string | undefined) => nodeIdIn(names, 'c'),
  })

  it('that fit are taken; others are refused with words', async () => {
    const good = inFiles(await leaf('n1'))
    expect(loadCertificate(good, mustName('n1')).ca).toBe(authority.cert)
    expect(() => loadCertificate(good, mustName('n2'))).toThrow(/names node "n1", this is "n2"/)
    const other = inFiles(await leaf('n1'))
    expect(() => loadCertificate({ ...good, key: other.key })).toThrow(/not the key of/)
    expect(() => loadCertificate({ ...good, cert: join(dir, 'absent') })).toThrow(/does not exist/)
    expect(() => loadCertificate({ ...good, cert: good.key })).toThrow(/no certificate/)
    expect(() => loadCertificate({ ...good, key: good.cert })).toThrow(/read by others|no private key/)
    chmodSync(good.key, 0o644)
    expect(() => loadCertificate(good)).toThrow(/chmod 600/)
  })

  it('are followed, and half of a pair changes nothing', async () => {
    const paths = inFiles(await leaf('n1'))
    const seen: string[] = []
    const keeper = new CertificateKeeper(
      paths,
      () => loadCertificate(paths),
      { changed: ({ cert }) => seen.push(cert), refused: (detail) => seen.push(detail) },
      5,
    )
    const before = keeper.current
    const next = await leaf('n1')
    writeFileSync(paths.cert, next.cert)
    await until(
      'the refusal',
      () => seen.length === 1,
      () => seen,
    )
    expect(seen[0]).toMatch(/not the key/)
    expect(keeper.current).toBe(before)
    writeFileSync(paths.key, next.key)
    await until(
      'the change',
      () => seen.at(-1) === next.cert,
      () => seen,
    )
    expect(keeper.current.cert).toBe(next.cert)
    keeper.close()
  })
})
