/** `skein cert` and a cluster made with it, as processes: no cookie anywhere, HTTPS, and a client's certificate instead of a token. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
const dir = mkdtempSync(join(tmpdir(), 'skein-mtls-'))
const certs = join(dir, 'certs')
const running: Started[] = []

function skein(...args: string[]) {
  return spawnSync(process.execPath, [bin, ...args], {
    encoding: 'utf8',
    timeout: 30_000,
    env: { PATH: process.env.PATH },
  })
}

function cert(...args: string[]) {
  const made = skein('cert', ...args, '--dir', certs)
  expect(made.stderr).toBe('')
  return made
}

interface Up {
  readonly http: string
  readonly peer: string
}

class Started {
  readonly child: ChildProcess
  readonly log: { msg: string; detail?: string }[] = []
  readonly up: Promise<Up>

  constructor(id: string, peers: readonly string[], more: readonly string[] = [], files = id) {
    const at = (name: string) => join(certs, name)
    const args = [
      'start',
      '--node-id',
      id,
      '--data-dir',
      join(dir, 'data', id),
      '--port',
      '0',
      '--peer-port',
      '0',
    ]
    const tls = ['--tls-ca', at('ca.crt'), '--tls-cert', at(`${files}.crt`), '--tls-key', at(`${files}.key`)]
    const rest = ['--preset', 'local', '--json', ...more, ...peers.flatMap((peer) => ['--peer', peer])]
    this.child = spawn(process.execPath, [bin, ...args, ...tls, ...rest], { env: { PATH: process.env.PATH } })
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      this.log.push(line.startsWith('{') ? JSON.parse(line) : { msg: line })
    })
    this.up = new Promise((done, failed) => {
      this.child.stdout?.once('data', (line) => done(JSON.parse(String(line))))
      this.child.once('close', () =>
        failed(new Error(this.log.map((line) => JSON.stringify(line)).join('\n'))),
      )
    })
    this.up.catch(() => undefined)
    running.push(this)
  }
}

beforeAll(() => {
  cert('ca')
  for (const id of ['node-1', 'node-2', 'node-3']) cert('node', id)
  cert('client', 'ops', '--role', 'admin')
  cert('client', 'eye', '--role', 'viewer')
})

afterAll(() => {
  for (const { child } of running) child.kill('SIGKILL')
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
})

describe('skein cert', () => {
  test('makes keys that only their owner can read, and writes over nothing', () => {
    for (const name of ['ca', 'node-1', 'client-ops'])
      expect(statSync(join(certs, `${name}.key`)).mode & 0o777, name).toBe(0o600)
    expect(skein('cert', 'node', 'node-1', '--dir', certs).status).toBe(5)
    expect(skein('cert', 'client', 'x', '--role', 'king', '--dir', certs).status).toBe(2)
    expect(skein('cert', 'node', 'a b', '--dir', certs).status).toBe(2)
    expect(skein('cert', 'node', 'x', '--dir', join(dir, 'nothing')).stderr).toMatch(/ENOENT/)
  })
})

describe('a cluster of certificates', () => {
  let nodes: Up[]

  beforeAll(async () => {
    const tokens = join(dir, 'tokens')
    skein('token', 'create', '--role', 'admin', '--name', 'a', '--file', tokens)
    const https = ['--https-cert', join(certs, 'node-1.crt'), '--https-key', join(certs, 'node-1.key')]
    const first = await new Started('node-1', [], [...https, '--token-file', tokens]).up
    nodes = [first]
    for (const id of ['node-2', 'node-3']) nodes.push(await new Started(id, [first.peer]).up)
  }, 60_000)

  test('forms without a cookie, gossips, and carries events between nodes', async () => {
    const second = (nodes[1] as Up).http
    const status = async () =>
      (await (await fetch(`http://${second}/api/cluster/status`)).json()) as { healthy_peers: number }
    await expect.poll(async () => (await status()).healthy_peers, { timeout: 20_000 }).toBe(2)
    const events = Array.from({ length: 60 }, (_, n) => ({
      stream: 's',
      key: `k${n}`,
      type: 't',
      payload: { n },
    }))
    const headers = { 'content-type': 'application/json' }
    const init = { method: 'POST', headers, body: JSON.stringify(events) }
    const published = await fetch(`http://${second}/api/events`, init)
    // One that had to be sent to an owner twice is a duplicate the second time: stored once all the same.
    const { accepted, duplicates } = (await published.json()) as { accepted: number; duplicates: number }
    expect(accepted + duplicates).toBe(60)
    expect(existsSync(join(dir, 'data', 'cookie'))).toBe(false)
    for (const { log } of running) expect(log.filter(({ msg }) => msg === 'peer.rejected')).toEqual([])
  }, 40_000)

  test('is known by its certificate to the doctor, who finds its ports taken by it and not by a stranger', () => {
    const { http, peer } = nodes[0] as Up
    const portOf = (address: string): string => address.split(':').at(-1) as string
    const file = (kind: string): string => join(certs, `node-1.${kind}`)
    const own = [
      '--port',
      portOf(http),
      '--peer-port',
      portOf(peer),
      '--data-dir',
      join(dir, 'doctor', 'node-1'),
    ]
    const mesh = ['--tls-ca', join(certs, 'ca.crt'), '--tls-cert', file('crt'), '--tls-key', file('key')]
    const https = ['--https-cert', file('crt'), '--https-key', file('key')]
    const { stdout } = skein('doctor', '--node-id', 'node-1', ...own, ...mesh, ...https, '--json')
    const found = JSON.parse(stdout) as { name: string; ok: boolean; detail: string }[]
    for (const name of ['HTTP port', 'peer port', 'certificate', 'HTTPS certificate'])
      expect(found.find((each) => each.name === name)).toMatchObject({ ok: true })
    expect(found.find(({ name }) => name === 'running node')?.detail).toMatch(
      /one answers at https:.*--token/,
    )
  })

  test('speaks HTTPS; a client’s certificate is worth a token, a node’s is not', () => {
    const addr = `https://${(nodes[0] as Up).http}`
    const as = (name: string | undefined, ...args: string[]) => {
      const shown =
        name === undefined
          ? []
          : ['--tls-cert', join(certs, `${name}.crt`), '--tls-key', join(certs, `${name}.key`)]
      return skein(...args, '--addr', addr, '--tls-ca', join(certs, 'ca.crt'), ...shown)
    }
    expect(JSON.parse(as('client-ops', 'whoami', '--json').stdout)).toMatchObject({
      name: 'ops',
      role: 'admin',
      via: 'certificate',
    })
    expect(as('client-ops', 'nodes', 'cordon', 'node-2').status).toBe(0)
    expect(as('client-ops', 'audit').stdout).toMatch(
      /ops \(admin\) from .* POST \/api\/cluster\/nodes\/node-2\/cordon/,
    )
    expect(as('client-eye', 'nodes', 'ls').status).toBe(0)
    expect(as('client-eye', 'nodes', 'uncordon', 'node-2').stderr).toMatch(/forbidden/)
    expect(as('node-2', 'nodes', 'ls').stderr).toMatch(/unauthenticated/)
    expect(as(undefined, 'nodes', 'ls').stderr).toMatch(/unauthenticated/)
    const distrusting = skein('status', '--addr', addr)
    expect(distrusting.status).toBe(3)
  }, 60_000)

  test('does not let in who has the certificate of another node, or a cookie', async () => {
    const { peer } = nodes[0] as Up
    await expect(new Started('node-9', [peer], [], 'node-3').up).rejects.toThrow(/names node .*node-3/)
    const cookie = spawnSync(
      process.execPath,
      [
        bin,
        'start',
        '--node-id',
        'c',
        '--data-dir',
        join(dir, 'other', 'c'),
        '--port',
        '0',
        '--peer-port',
        '0',
        '--peer',
        peer,
      ],
      { encoding: 'utf8', timeout: 8_000, env: { PATH: process.env.PATH } },
    )
    expect(cookie.stderr).toMatch(/bad_cookie|does not speak|bad_certificate/)
  }, 40_000)

  test('takes renewed certificates into use without a restart', async () => {
    for (const name of ['node-1', 'node-2']) {
      for (const end of ['crt', 'key'])
        renameSync(join(certs, `${name}.${end}`), join(certs, `old-${name}.${end}`))
      cert('node', name)
    }
    const changed = () =>
      running.slice(0, 2).filter(({ log }) => log.some(({ msg }) => msg === 'certificate.changed'))
    await expect.poll(() => changed().length, { timeout: 10_000 }).toBe(2)
    expect(running[0]?.log.some(({ msg }) => msg === 'https.changed')).toBe(true)
    const third = (nodes[2] as Up).http
    const status = (await (await fetch(`http://${third}/api/cluster/status`)).json()) as {
      healthy_peers: number
    }
    expect(status.healthy_peers).toBe(2)
  }, 40_000)
})
