import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
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

  it('tells a directory that cannot be used', async () => {
    const { bad } = await of({ dataDir: '/dev/null/node' })
    expect(bad.map((c) => c.name)).toContain('data directory')
  })
})
