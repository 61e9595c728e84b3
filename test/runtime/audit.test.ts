/** The audit log: its files stay within their bound, a torn line harms nobody, and any node reads those of all. */
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { AuditLog, auditFilesMax } from '../../src/runtime/audit-log.js'
import { createNode } from '../../src/runtime/create-node.js'
import type { AuditInput, SkeinNode } from '../../src/runtime/node-api.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-audit-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function input(target: string): AuditInput {
  const caller = { who: 'a', role: 'admin', via: 'token', address: '127.0.0.1' }
  return { ...caller, method: 'POST', route: '/r', target, status: 200, request: 'r-1' }
}

let clock = 0
const now = () => (++clock).toString(16).padStart(24, '0')

function openLog(directory: string, bytesMax = 1_000_000): AuditLog {
  return new AuditLog({ directory, bytesMax, nodeId: 'n', now, onTrouble: (detail) => expect.fail(detail) })
}

describe('the files', () => {
  it('keep the newest within the bound, and give pages over all of them', async () => {
    const directory = mkdtempSync(join(dir, 'files-'))
    const bytesMax = 16_000
    const log = openLog(directory, bytesMax)
    for (let i = 0; i < 500; i++) log.record(input(`/${i}`))
    const files = readdirSync(directory)
    expect(files).toHaveLength(auditFilesMax)
    const sizes = files.map((name) => statSync(join(directory, name)).size)
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(bytesMax * 1.2)
    for (const name of files) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600)
    const newest = await log.read(30, undefined)
    expect(newest.map(({ target }) => target)).toEqual(Array.from({ length: 30 }, (_, i) => `/${470 + i}`))
    const first = newest[0]?.hlc as string
    expect((await log.read(5, first)).map(({ target }) => target)).toEqual([
      '/471',
      '/472',
      '/473',
      '/474',
      '/475',
    ])
    expect(await log.read(5, newest.at(-1)?.hlc)).toEqual([])
    log.close()
  })

  it('go on after a line that was cut short', async () => {
    const directory = mkdtempSync(join(dir, 'torn-'))
    const before = openLog(directory)
    before.record(input('/1'))
    before.close()
    appendFileSync(join(directory, 'audit.jsonl'), '{"hlc":"00')
    const log = openLog(directory)
    log.record(input('/2'))
    expect((await log.read(10, undefined)).map(({ target }) => target)).toEqual(['/1', '/2'])
    log.close()
  })
})

describe('a cluster', () => {
  it('is read through any node, in order, and says which did not answer', async () => {
    const nodes: SkeinNode[] = []
    for (const nodeId of ['node-1', 'node-2']) {
      nodes.push(
        await createNode({
          nodeId,
          dataDir: join(dir, 'cluster', nodeId),
          threads: 'inline',
          http: false,
          peerPort: 0,
          preset: 'local',
          peers: nodes.map(({ self }) => self.peerAddress),
          logLevel: 'silent',
        }),
      )
    }
    const [one, two] = nodes as [SkeinNode, SkeinNode]
    await expect.poll(() => one.members.get('node-2')?.status, { timeout: 10_000 }).toBe('online')
    one.audit.record(input('/a'))
    await new Promise((done) => setTimeout(done, 5))
    two.audit.record(input('/b'))
    for (const node of nodes) {
      const { entries, incomplete } = await node.audit.read({ limit: 10 })
      expect(entries.map((e) => [e.node, e.target])).toEqual([
        ['node-1', '/a'],
        ['node-2', '/b'],
      ])
      expect(incomplete).toEqual([])
    }
    const page = await two.audit.read({ limit: 1, after: '0'.repeat(24) })
    expect(page).toMatchObject({ entries: [{ target: '/a' }], nextCursor: page.entries[0]?.hlc })
    expect(readFileSync(join(dir, 'cluster', 'node-1', 'audit.jsonl'), 'utf8')).toContain('"target":"/a"')
    await Promise.all(nodes.map((node) => node.stop({ deadlineMs: 2_000 })))
  })
})
