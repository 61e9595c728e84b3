import { createSocket } from 'node:dgram'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nodeUri } from '../../src/core/kernel/certificate-name.js'
import { makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import { withDefaults } from '../../src/runtime/create-node.js'
import { examine } from '../../src/runtime/doctor.js'
import type { NodeConfig } from '../../src/runtime/node-api.js'

describe('the doctor', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'skein-doctor-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const of = async (config: Partial<NodeConfig>) => {
    const checks = await examine(
      withDefaults({ dataDir: join(directory, 'node'), port: 0, peerPort: 0, ...config }),
    )
    return { checks, bad: checks.filter((c) => !c.ok) }
  }

  it('finds nothing wrong with a node of one host', async () => {
    expect((await of({})).bad).toEqual([])
  })

  it('says why SQLite cannot serve several hosts, and what can', async () => {
    const { bad } = await of({
      peerHost: '0.0.0.0',
      advertise: '10.0.0.1',
      cookie: 'x'.repeat(32),
      peers: ['10.0.0.2:6745'],
    })
    expect(bad).toHaveLength(1)
    expect(bad[0]).toMatchObject({
      name: 'store and journal for these peers',
      detail: expect.stringMatching(/--store sqlite:.*--journal sqlite:.*10\.0\.0\.2:6745 may be another/),
      fix: expect.stringMatching(/etcd:.*postgres:/),
    })
  })

  it('names what does not answer, without its password', async () => {
    const { bad } = await of({
      store: 'etcd://root:secret@127.0.0.1:1',
      journal: 'postgres://u:secret@127.0.0.1:1/db',
    })
    const text = JSON.stringify(bad)
    expect(text).toMatch(/127\.0\.0\.1:1/)
    expect(text).not.toContain('secret')
    expect(bad.map((c) => c.name)).toContain('journal')
    for (const { fix } of bad) expect(fix).not.toBe('')
  }, 30_000)

  it('names the port that another program has', async () => {
    const server: Server = createServer()
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as { port: number }
    try {
      const { bad } = await of({ peerPort: port })
      expect(bad).toMatchObject([{ name: 'peer port', detail: expect.stringContaining('EADDRINUSE') }])
    } finally {
      await new Promise((done) => server.close(done))
    }
  })

  it('looks at UDP as well as TCP', async () => {
    const socket = createSocket('udp4')
    await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done))
    try {
      const { bad } = await of({ peerPort: socket.address().port })
      expect(bad).toMatchObject([{ name: 'peer port, UDP', detail: expect.stringContaining('EADDRINUSE') }])
    } finally {
      socket.close()
    }
  })

  it('finds certificates that are not of this node, not of this authority, or about to end', async () => {
    const ours = await makeAuthority('skein', 365)
    const others = await makeAuthority('skein', 365)
    const file = (name: string, text: string): string => {
      const path = join(directory, name)
      writeFileSync(path, text, { mode: 0o600 })
      return path
    }
    const tlsCa = file('ca.crt', ours.cert)
    const made = async (authority: typeof ours, days: number) => {
      const leaf = { name: 'n1', uri: nodeUri('skein', 'n1'), hosts: ['127.0.0.1'], isServer: true, days }
      const { cert, key } = await makeLeaf(authority, leaf)
      return { tlsCa, tlsCert: file(`${days}.crt`, cert), tlsKey: file(`${days}.key`, key) }
    }
    const whole = await made(ours, 100)
    const found = async (config: Partial<NodeConfig>) =>
      (await of(config)).checks.find(({ name }) => name === 'certificate')
    expect(await found({ ...whole, nodeId: 'n1' })).toMatchObject({
      ok: true,
      detail: expect.stringMatching(/good for (99|100) days/),
    })
    expect(await found({ ...whole, nodeId: 'n2' })).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/names node "n1"/),
    })
    expect(await found(await made(ours, 3))).toMatchObject({ ok: false, fix: expect.stringMatching(/renew/) })
    expect(await found(await made(others, 200))).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/not signed by/),
    })
  })

  it('does not mind peers that are not there yet, but those that no way leads to', async () => {
    const { checks, bad } = await of({ peers: ['127.0.0.1:1', 'nowhere'] })
    const peers = checks.find(({ name }) => name === 'peers')
    expect(bad.map(({ name }) => name)).toContain('peers')
    expect(peers?.detail).toMatch(/nobody is there yet at 127\.0\.0\.1:1; nowhere: no host:port/)
  })

  it('tells a directory that cannot be used', async () => {
    const { bad } = await of({ dataDir: '/dev/null/node' })
    expect(bad.map((c) => c.name)).toContain('data directory')
  })
})
