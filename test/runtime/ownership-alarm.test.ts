/**
 * The online auditor with real processes. Into a copy of the built files a bug is planted: the leader gives a shard away without raising its epoch. The
 * auditor has to say so; with the files as they are it has to be silent.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
const keys = Array.from({ length: 32 }, (_, i) => `k${i}`)

interface Ownership {
  readonly alarms: readonly { readonly rule: string; readonly detail: string }[]
  readonly tenures: readonly { readonly node_id: string }[]
}

describe('the online auditor', () => {
  let directory: string
  let children: ChildProcess[]
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'skein-audit-'))
    children = []
    for (const name of ['bin', 'dist', 'package.json'])
      cpSync(join(root, name), join(directory, name), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  })
  afterEach(async () => {
    for (const child of children) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
    }
    rmSync(directory, { recursive: true, force: true })
  })

  /** Resolves with the URL that the node prints when it is up. */
  async function start(
    id: string,
    peers: string[],
  ): Promise<{ url: string; child: ChildProcess; peer: string }> {
    const args = [
      'bin/skein.js',
      'start',
      '--node-id',
      id,
      '--port',
      '0',
      '--peer-port',
      '0',
      '--shards',
      '16',
    ]
    args.push('--data-dir', join(directory, 'data', id), '--preset', 'local', '--log-level', 'error')
    for (const peer of peers) args.push('--peer', peer)
    const child = spawn(process.execPath, args, { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    let out = ''
    for await (const chunk of child.stdout as NonNullable<typeof child.stdout>) {
      out += chunk
      const match = /(http:\/\/\S+?)\/?\s+peers connect to (\S+)/.exec(out)
      if (match !== null) {
        child.stdout?.resume()
        return { url: match[1] as string, child, peer: match[2] as string }
      }
    }
    throw new Error(`${id} did not come up: ${out}`)
  }

  async function publishEverywhere(url: string, round: number): Promise<void> {
    const events = keys.map((key) => ({ stream: 's', key, id: `${key}-${round}`, type: 't', payload: round }))
    const response = await fetch(`${url}/api/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(events),
    })
    await response.text()
  }

  async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const deadline = Date.now() + 20_000
    for (;;) {
      const found = await look().catch(() => undefined)
      if (found !== undefined) return found
      if (Date.now() > deadline) throw new Error(`waited 20 s for ${what}`)
      await new Promise((wait) => setTimeout(wait, 100))
    }
  }

  const ownership = async (url: string): Promise<Ownership> =>
    (await (await fetch(`${url}/api/cluster/ownership`)).json()) as Ownership

  /** Two nodes, each with shards and events; the one that does not lead is killed. */
  async function killAndTakeOver(): Promise<{ url: string }> {
    const one = await start('one', [])
    const two = await start('two', [one.peer])
    await until('both to own shards', async () => {
      await publishEverywhere(one.url, 0)
      const { tenures } = await ownership(one.url)
      return new Set(tenures.map((t) => t.node_id)).size === 2 ? true : undefined
    })
    two.child.kill('SIGKILL')
    await once(two.child, 'exit')
    return one
  }

  it('says nothing when a node dies and another takes its shards', async () => {
    const { url } = await killAndTakeOver()
    await until('the take-over', async () => {
      await publishEverywhere(url, 1)
      const { tenures } = await ownership(url)
      return tenures.some((t) => t.node_id === 'one' && (t as { epoch?: number }).epoch !== 1)
        ? true
        : undefined
    })
    expect((await ownership(url)).alarms).toEqual([])
  }, 60_000)

  it('raises an alarm when a planted bug gives one epoch to two owners', async () => {
    const path = join(directory, 'dist/core/sharding/coordinator.js')
    const text = readFileSync(path, 'utf8')
    expect(text.split('asEpoch(floor + 1)')).toHaveLength(2)
    writeFileSync(path, text.replace('asEpoch(floor + 1)', 'asEpoch(Math.max(1, floor))'))
    const { url } = await killAndTakeOver()
    const { alarms } = await until('an alarm', async () => {
      const found = await ownership(url)
      return found.alarms.length > 0 ? found : undefined
    })
    expect(alarms[0]?.rule).toMatch(/two_owners|not_assigned/)
    const metrics = await (await fetch(`${url}/metrics`)).text()
    expect(Number(/^skein_ownership_alarms_total (\d+)/m.exec(metrics)?.[1])).toBeGreaterThan(0)
    const history = await (await fetch(`${url}/api/cluster/history?limit=500`)).text()
    expect(history).toContain('ownership.alarm')
  }, 60_000)
})
