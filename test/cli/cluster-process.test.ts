/** `skein up` and `skein start` as processes, on every engine that servers run: a cluster in one terminal that heals and drains, and starts that must fail with words. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { engines, type RunningEngines } from '../engines.js'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
interface NodeLine {
  readonly id: string
  readonly pid: number
  readonly http: string
  readonly peer: string
}

/** What the process has said so far, and a way to wait for more of it. */
class Watched {
  readonly child: ChildProcess
  text = ''
  readonly ended: Promise<number | null>
  private readonly waiting = new Set<() => void>()

  constructor(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv) {
    this.child = spawn(process.execPath, [bin, ...args], { cwd, env })
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.text += String(chunk)
        for (const look of this.waiting) look()
      })
    }
    this.ended = new Promise((done) => this.child.once('close', done))
  }

  async says(pattern: RegExp): Promise<RegExpExecArray> {
    let look = (): void => {}
    const found = new Promise<RegExpExecArray>((done, failed) => {
      const timer = setTimeout(
        () => failed(new Error(`${pattern} was not said within 30 s:\n${this.text}`)),
        30_000,
      )
      look = () => {
        const match = pattern.exec(this.text)
        if (match === null) return
        clearTimeout(timer)
        done(match)
      }
    })
    this.waiting.add(look)
    look()
    return found.finally(() => this.waiting.delete(look))
  }
}

/** On a port that the system gives to nobody who asks for any, or connections of others could take the next ones between the look and the start. */
async function blockAny(blocker: Server): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 10_000)
    const listening = new Promise<boolean>((done) => {
      blocker.once('error', () => done(false))
      blocker.listen(port, '127.0.0.1', () => done(true))
    })
    if (await listening) return port
  }
}

// A managed etcd has tests of its own with processes: here its ports would meet those of the other nodes.
for (const { name, isMissing, start: startEngines } of engines.slice(0, 2))
  describe.skipIf(isMissing)(`on ${name}`, () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-up-'))
    const log = resolve(dir, 'log.txt')
    const env: NodeJS.ProcessEnv = { PATH: process.env.PATH }
    let running: RunningEngines

    function start(...args: string[]): { code: number | null; said: string } {
      const { status, stderr } = spawnSync(
        process.execPath,
        [bin, 'start', '--log-level', 'silent', ...args],
        {
          cwd: dir,
          encoding: 'utf8',
          timeout: 30_000,
          env,
        },
      )
      return { code: status, said: stderr.trim() }
    }

    describe('a local cluster', () => {
      let up: Watched
      let nodes: readonly NodeLine[]
      const blocker = createServer()
      let firstPort = 0

      beforeAll(async () => {
        running = await startEngines()
        const { store, journal } = running
        if (store !== undefined && journal !== undefined)
          Object.assign(env, { SKEIN_STORE: store, SKEIN_JOURNAL: journal })
        writeFileSync(log, Array.from({ length: 100 }, (_, i) => `k${i % 7} line ${i}`).join('\n'))
        firstPort = await blockAny(blocker)
        // The peer ports begin elsewhere, so that the two rows of ports do not meet.
        const peerPort = firstPort + 10_000
        up = new Watched(
          [
            'up',
            '--nodes',
            '2',
            '--dir',
            'c',
            '--json',
            '--port',
            String(firstPort),
            '--peer-port',
            String(peerPort),
          ],
          dir,
          env,
        )
        const [, line] = await up.says(/^(\{"nodes".*\})$/m)
        nodes = (JSON.parse(line as string) as { nodes: NodeLine[] }).nodes
      }, 60_000)

      afterAll(async () => {
        up.child.kill('SIGKILL')
        blocker.close()
        for (const { pid } of nodes ?? []) {
          try {
            process.kill(pid, 'SIGKILL')
          } catch {
            // It has ended, as it should have.
          }
        }
        await running.end()
        rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
      })

      test('passes over ports that are taken and shares a secret that only its owner can read', () => {
        expect(nodes).toHaveLength(2)
        expect(nodes[0]?.http).not.toBe(`127.0.0.1:${firstPort}`)
        expect(statSync(join(dir, 'c', 'cookie')).mode & 0o777).toBe(0o600)
      })

      test('takes a file through one node and gives a key back through the other, in order', () => {
        const [first, second] = nodes as [NodeLine, NodeLine]
        const run = (...args: string[]) =>
          spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', timeout: 30_000 })
        const sent = run(
          'events',
          'publish',
          log,
          '--stream',
          's',
          '--key-regex',
          'k\\d',
          '--batch',
          '9',
          '--addr',
          first.http,
          '--json',
        )
        // A shard that moved meanwhile was sent to twice: what was stored the first time counts as a duplicate then.
        const { lines, accepted, duplicates } = JSON.parse(sent.stdout)
        expect([lines, accepted + duplicates]).toEqual([100, 100])
        const again = run(
          'events',
          'publish',
          log,
          '--stream',
          's',
          '--key-regex',
          'k\\d',
          '--addr',
          second.http,
          '--json',
        )
        expect(JSON.parse(again.stdout)).toMatchObject({ accepted: 0, duplicates: 100 })
        const got = run('events', 'get', '--stream', 's', '--key', 'k3', '--addr', second.http)
        const wanted = Array.from({ length: 100 }, (_, i) => i).filter((i) => i % 7 === 3)
        expect(got.stdout.trim().split('\n')).toEqual(wanted.map((i) => `k3 line ${i}`))
      })

      // What is refused here has to do with no engine.
      if (name === 'SQLite')
        test('a start that cannot be ends with one line: what, why, and a code', () => {
          const [first] = nodes as [NodeLine]
          const fresh = ['--port', '0', '--peer-port', '0', '--data-dir']
          const cases: readonly [readonly string[], RegExp][] = [
            [['--port', String(firstPort), '--peer-port', '0', '--data-dir', 'x/a'], /port_in_use/],
            [
              ['--port', '0', '--peer-port', first.peer.split(':')[1] ?? '', '--data-dir', 'x/b'],
              /port_in_use/,
            ],
            [[...fresh, join(log, 'd')], /data_dir_unusable/],
            [[...fresh, 'c/node-1'], /already_running/],
            [[...fresh, 'y/a', '--cookie', 'not the right one', '--peer', first.peer], /bad_cookie/],
            [[...fresh, 'c/z', '--cluster-name', 'other', '--peer', first.peer], /cluster_mismatch/],
          ]
          for (const [args, words] of cases) {
            const { code, said } = start(...args)
            expect(said).toMatch(words)
            expect(said.split('\n')).toHaveLength(1)
            expect(code).toBe(1)
          }
        })

      test('starts a node again that was killed, and drains all at the first signal', async () => {
        const second = nodes[1] as NodeLine
        process.kill(second.pid, 'SIGKILL')
        await up.says(
          /node-2 \| ended \(SIGKILL\)[\s\S]*node-2 \| is started again[\s\S]*node-2 \| node node-2 is up/,
        )
        up.child.kill('SIGINT')
        expect(await up.ended).toBe(0)
        expect(up.text).toMatch(/node-1 \| stopped: SIGTERM/)
        expect(up.text).toMatch(/node-2 \| stopped: SIGTERM/)
      })
    })
  })
