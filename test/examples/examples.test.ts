/** The examples, each run as a reader would: it says what it promises. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '../..')

const says: Readonly<Record<string, readonly string[]>> = {
  'agents.ts': ['ada moved to', 'points: 120 120 120 120 120 120, 120 each were scored'],
  'consumer.ts': ['fay spent 1275 of 1275', 'orders by node: { '],
  'cron.ts': ['one leads in term 1', 'runs by 3 leaders'],
  'express.ts': [
    '201 {"price":6',
    'alice ordered [{"item":"tea","count":2,"price":6},{"item":"milk","count":1,"price":4}]',
  ],
  'fastify.ts': ['tea by app 1: {"count":1}', 'alice has {"items":["tea","milk","sugar"]}'],
  'chat.ts': [
    'bob on two hears alice: hello',
    'in the lobby: alice (one), bob (two)',
    'bob is told to go: the node is stopping',
    'bob on one hears alice: still there?',
  ],
  'otlp.ts': ['20 traces, 80 spans', 'one trace: load the cart, price it, render, GET /cart'],
  'simulate.ts': ['seed 5:', 'all is well'],
  'socket-io.ts': ['bob hears: hello from the other server', '2 sockets in the lobby, on two servers'],
  'typed-service.ts': ['two teas: 7.00 EUR', 'milk at 1.44', 'refused: unknown_sku {"sku":"gold"}'],
  'worker-pool.ts': ['17984 primes below 200000'],
}

describe('examples', () => {
  it.each(Object.entries(says))('%s', { timeout: 90_000 }, async (name, lines) => {
    const { stdout } = await run(process.execPath, ['--import', 'tsx', join(root, 'examples', name)], {
      cwd: root,
      timeout: 80_000,
    })
    for (const line of lines) expect(stdout).toContain(line)
  })

  it('embed.ts, which goes on until Ctrl-C', { timeout: 90_000 }, async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'skein-embed-'))
    const args = ['--import', import.meta.resolve('tsx'), join(root, 'examples', 'embed.ts')]
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      let said = ''
      let isTold = false
      child.stdout.on('data', (bytes: Buffer) => {
        said += bytes.toString()
        if (isTold || !said.includes('customer-1 has 1 orders')) return
        isTold = true
        child.kill('SIGINT')
      })
      const [code] = (await once(child, 'exit')) as [number | null]
      expect(said).toContain('stopped: SIGINT')
      expect(code).toBe(0)
    } finally {
      child.kill('SIGKILL')
      rmSync(cwd, { recursive: true, force: true })
    }
  })

  it('are short', () => {
    for (const name of readdirSync(join(root, 'examples'))) {
      expect([...Object.keys(says), 'embed.ts'], name).toContain(name)
      expect(readFileSync(join(root, 'examples', name), 'utf8').split('\n').length, name).toBeLessThanOrEqual(
        81,
      )
    }
  })
})
