/** The command as a process: what it accepts, what it prints, with which code it ends. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
const dir = mkdtempSync(join(tmpdir(), 'skein-cli-'))
const servers: Server[] = []
afterAll(() => {
  for (const server of servers) server.close()
  rmSync(dir, { recursive: true, force: true })
})

interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function skein(args: readonly string[], env: Record<string, string> = {}, input = ''): Promise<Run> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [bin, ...args], {
      cwd: dir,
      env: { PATH: process.env.PATH, ...env },
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += String(chunk)
    })
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += String(chunk)
    })
    child.stdin.end(input)
    child.once('close', (code) => done({ code, stdout, stderr }))
  })
}

async function answering(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  servers.push(server)
  await new Promise<void>((up) => server.listen(0, '127.0.0.1', up))
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A server whose every answer has this status. */
function withStatus(status: number, body: unknown): Promise<string> {
  return answering((_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  })
}

async function unusedAddress(): Promise<string> {
  const server = createServer()
  await new Promise<void>((up) => server.listen(0, '127.0.0.1', up))
  const { port } = server.address() as AddressInfo
  await new Promise((closed) => server.close(closed))
  return `127.0.0.1:${port}`
}

describe('what is said wrongly ends with 2', () => {
  test.each([
    [['frobnicate'], /unknown command/],
    [['nodes', 'show'], /missing required argument/],
    [['start', '--laod', 'x.js'], /unknown option '--laod'/],
    [['start', '--port', '70000', '--role', 'king'], /port.*0 to 65535[\s\S]*role.*worker, replica, standby/],
    [['start', '--peer', 'nowhere'], /host:port/],
    [['start', '--node-id', 'a', '--cluster', 'b'], /give one/],
    [['start', '--host', '0.0.0.0'], /--token-file/],
    [['start', '--config', 'absent.json'], /ENOENT/],
    [['up', '--nodes', '0'], /1 to 16/],
    [['events', 'publish', 'x', '--stream', 's'], /key-regex/],
    [['events', 'publish', 'x', '--stream', 's', '--key-regex', '('], /regular expression/i],
    [['events', 'publish', 'absent', '--stream', 's', '--key-regex', 'x'], /absent cannot be read: ENOENT/],
    [['events', 'get', '--stream', 's', '--limit', '-1'], /1 to/],
    [['status', '--addr', 'not an address'], /host:port/],
  ])('%j', async (args, words) => {
    const { code, stderr } = await skein(args)
    expect(stderr).toMatch(words)
    expect(code).toBe(2)
  })
})

describe('how an answer becomes an exit code', () => {
  test.each([
    [404, 4],
    [409, 5],
    [412, 5],
    [400, 2],
    [422, 2],
    [504, 6],
    [500, 1],
    [503, 1],
    [401, 1],
  ])('HTTP %i ends with %i, with the node’s own words', async (status, exit) => {
    const addr = await withStatus(status, { code: 'some_code', detail: 'in its own words' })
    const { code, stderr } = await skein(['nodes', 'show', 'n', '--addr', addr])
    expect(stderr).toBe('skein: some_code: in its own words\n')
    expect(code).toBe(exit)
  })

  test('what to do stands below, as the table of codes says it; with --json both are one line of JSON', async () => {
    const addr = await withStatus(503, { code: 'disk_full', detail: 'no room' })
    const { stderr } = await skein(['nodes', 'cordon', 'n', '--addr', addr])
    expect(stderr).toBe('skein: disk_full: no room\n  free space, or lower retention; it goes on by itself\n')
    const { stderr: line, stdout, code } = await skein(['nodes', 'cordon', 'n', '--addr', addr, '--json'])
    const hint = 'free space, or lower retention; it goes on by itself'
    expect(JSON.parse(line)).toEqual({ error: { code: 'disk_full', detail: 'no room', exit_code: 1, hint } })
    expect([stdout, code]).toEqual(['', 1])
  })

  test('nobody there: 3, for every kind of command', async () => {
    const addr = await unusedAddress()
    const runs = await Promise.all(
      [['status'], ['nodes', 'ls'], ['leader', 'show'], ['shards'], ['events', 'tail']].map((args) =>
        skein([...args, '--addr', addr]),
      ),
    )
    for (const { code, stderr } of runs) {
      expect(stderr).toMatch(/cannot be reached \(ECONNREFUSED\)/)
      expect(code).toBe(3)
    }
  })

  test('a tail that is refused has the code of the refusal', async () => {
    expect((await skein(['events', 'tail', '--addr', await withStatus(404, {})])).code).toBe(4)
  })

  test('a degraded cluster: 7, with its status printed all the same', async () => {
    const engine = { driver: 'sqlite', ok: true, detail: '' }
    const body = { cluster_name: 'c', term: 1, is_degraded: true, store: engine, journal: engine }
    const { code, stdout } = await skein(['status', '--addr', await withStatus(200, body)])
    expect(stdout).toMatch(/DEGRADED/)
    expect(code).toBe(7)
  })
})

describe('tokens', () => {
  test('are made, listed and removed; the secret is all that standard output has', async () => {
    const env = { SKEIN_TOKEN_FILE: join(dir, 'tokens') }
    const made = await skein(['token', 'create', '--role', 'viewer', '--name', 'me'], env)
    expect(made.stdout).toMatch(/^skein_[A-Za-z0-9_-]{43}\n$/)
    expect(made.stderr).toMatch(/not shown again/)
    expect((await skein(['token', 'create', '--role', 'viewer', '--name', 'me'], env)).code).toBe(5)
    expect((await skein(['token', 'create', '--role', 'king', '--name', 'x'], env)).code).toBe(2)
    expect((await skein(['token', 'create', '--role', 'admin', '--name', 'a b'], env)).code).toBe(2)
    const { stdout } = await skein(['token', 'ls', '--json'], env)
    expect(JSON.parse(stdout)).toEqual({ tokens: [{ name: 'me', role: 'viewer' }], count: 1 })
    expect((await skein(['token', 'remove', 'me'], env)).code).toBe(0)
    expect((await skein(['token', 'remove', 'me'], env)).code).toBe(4)
  })

  test('the audit log and whoami are one line each', async () => {
    const entry = { hlc: '0'.repeat(24), at: 'T', node: 'n1', who: 'me', role: 'admin', via: 'token' }
    const call = { address: 'h', method: 'POST', route: '/r', target: '/t?x', status: 200, request: '1' }
    const body = { entries: [{ ...entry, ...call, count: 3, since: 'S' }], count: 1, next_cursor: 'abc' }
    const { stdout, stderr } = await skein(['audit', '--addr', await withStatus(200, body)])
    expect(stdout).toBe('T  n1  me (admin) from h  POST /t?x  200  3 times since S\n')
    expect(stderr).toMatch(/--after abc/)
    const me = { required: true, name: 'me', role: 'viewer', via: 'token', expires_at: null }
    expect((await skein(['whoami', '--addr', await withStatus(200, me)])).stdout).toBe('me, viewer\n')
  })
})

describe('what is printed', () => {
  test('tables line up and have no colours when nobody looks', async () => {
    const nodes = [
      { id: 'a', status: 'online', healthy: true, role: 'worker', shards_owned: 3, address: 'h:1' },
      { id: 'longer-name', status: 'offline', healthy: false, observed: 'failed', role: 'worker' },
    ]
    const { code, stdout } = await skein([
      'nodes',
      'ls',
      '--addr',
      await withStatus(200, { nodes, count: 2 }),
    ])
    const lines = stdout.split('\n')
    expect(code).toBe(0)
    expect(lines[0]?.indexOf('STATUS')).toBe(lines[1]?.indexOf('online'))
    expect(lines[0]?.indexOf('STATUS')).toBe(lines[2]?.indexOf('offline'))
    expect(stdout).not.toContain('\u001b')
  })

  test('the token goes along', async () => {
    let seen: string | undefined
    const addr = await answering((request, response) => {
      seen = request.headers.authorization
      response.end('{}')
    })
    await skein(['leader', 'show', '--addr', addr, '--token', 't1'])
    expect(seen).toBe('Bearer t1')
    await skein(['leader', 'show'], { SKEIN_ADDR: addr, SKEIN_TOKEN: 't2' })
    expect(seen).toBe('Bearer t2')
  })

  test('--print-config shows every value with its source, the preset’s timings too, and no cookie', async () => {
    const env = { SKEIN_COOKIE: 'very-secret-cookie', SKEIN_PRESET: 'wan', MESHER_HTTP_PORT: '9000' }
    const { code, stdout } = await skein(['start', '--print-config', '--zone', 'z1'], env)
    expect(code).toBe(0)
    expect(stdout).toMatch(/zone +"z1" +flag --zone/)
    expect(stdout).toMatch(/port +9000 +environment MESHER_HTTP_PORT/)
    expect(stdout).toMatch(/membership\.probeIntervalMs +2000 +preset wan/)
    expect(stdout).not.toContain('very-secret')
    const { stdout: json } = await skein(['start', '--print-config', '--json'], env)
    expect(JSON.parse(json)).toContainEqual({ key: 'shards', value: 256, source: 'default' })
  })

  test('version, help', async () => {
    expect((await skein(['version'])).stdout).toMatch(/^skein \d+\.\d+\.\d+, Node\.js/)
    expect(JSON.parse((await skein(['version', '--json'])).stdout)).toHaveProperty('version')
    expect((await skein(['--help'])).code).toBe(0)
    expect((await skein(['start', '--help'])).stdout).toMatch(/--drain-deadline-ms/)
  })

  test('lines from standard input are sent, and counted as JSON', async () => {
    const addr = await answering((request, response) => {
      let text = ''
      request.on('data', (chunk: Buffer) => {
        text += String(chunk)
      })
      request.on('end', () => {
        const results = text.split('\n').map((line) => ({ id: JSON.parse(line).id, status: 'accepted' }))
        response.writeHead(202).end(JSON.stringify({ results }))
      })
    })
    const args = ['events', 'publish', '-', '--stream', 's', '--key-regex', 'k\\d', '--json', '--addr', addr]
    const { code, stdout } = await skein(args, {}, 'k1 a\nno\nk2 b\n')
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ lines: 3, accepted: 2, skipped: 1 })
  })
})
