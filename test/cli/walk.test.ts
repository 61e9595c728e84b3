/**
 * The whole tree of commands on a live cluster and where no node is, in this process; then what needs a terminal, in a real one. The nodes are
 * processes. `npm run prove commands` does the same with every command a process of its own.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandsOf } from '../../src/cli/command.js'
import { run } from '../../src/cli/main.js'
import { buildProgram } from '../../src/cli/program.js'
import { ProcessCluster } from '../../tools/prove/lib/cluster.js'
import {
  askingCommands,
  endless,
  failureTrouble,
  type Ran,
  walk,
} from '../../tools/prove/lib/command-walk.js'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
const module_ = resolve(import.meta.dirname, '../../tools/prove/lib/commands-module.mjs')
const dir = mkdtempSync(join(tmpdir(), 'skein-walk-'))
const cluster = new ProcessCluster([
  '--allow-exec',
  '--load',
  module_,
  '--room-history',
  'log-',
  '--preset',
  'local',
])

beforeAll(() => cluster.start(2), 60_000)
afterAll(() => {
  cluster.end()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
})

/** In this process, what it prints caught. */
async function here(args: readonly string[]): Promise<Ran> {
  const said = { stdout: '', stderr: '' }
  const originals = { stdout: process.stdout.write, stderr: process.stderr.write }
  for (const name of ['stdout', 'stderr'] as const)
    process[name].write = ((text: string) => {
      said[name] += text
      return true
    }) as never
  try {
    return { code: await run(args), ...said }
  } finally {
    process.stdout.write = originals.stdout
    process.stderr.write = originals.stderr
  }
}

/** A process in a terminal of its own, forty lines of 150 columns. */
class InTerminal {
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  text = ''
  private look: () => void = () => {}

  constructor(args: readonly string[]) {
    const command = [process.execPath, bin, ...args].map((word) => `'${word}'`).join(' ')
    this.child = spawn(
      'script',
      ['-qefc', `stty rows 40 cols 150; echo pid=$$; exec ${command}`, '/dev/null'],
      {
        cwd: dir,
        env: { PATH: process.env.PATH, TERM: 'xterm', SHELL: '/bin/sh' },
      },
    )
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.text += String(chunk)
      this.look()
    })
    this.ended = new Promise((done) => this.child.once('close', done))
  }

  type(keys: string): void {
    this.child.stdin?.write(keys)
  }

  /** From what was drawn after `from`. */
  shows(pattern: RegExp, from = 0): Promise<string> {
    return new Promise((done, failed) => {
      const timer = setTimeout(
        () => failed(new Error(`${pattern} was not shown within 30 s:\n${this.text.slice(-3_000)}`)),
        30_000,
      )
      this.look = () => {
        const match = pattern.exec(this.text.slice(from))
        if (match === null) return
        clearTimeout(timer)
        done(match[0])
      }
      this.look()
    })
  }
}

const escape_ = '\u001b'
const enter = `${escape_}[?1049h${escape_}[?25l`
const leave = `${escape_}[?25h${escape_}[?1049l`

describe('every command', () => {
  test('ends with 3 where no node is, and says so as JSON', async () => {
    const server = createServer()
    await new Promise<void>((up) => server.listen(0, '127.0.0.1', up))
    const { port } = server.address() as { port: number }
    await new Promise((closed) => server.close(closed))
    const wrong: string[] = []
    for (const args of askingCommands(buildProgram(), dir)) {
      const ran = await here([...args, '--addr', `127.0.0.1:${port}`, '--json'])
      const trouble = ran.code === 3 && ran.stdout === '' ? failureTrouble(ran) : `ended with ${ran.code}`
      if (trouble !== undefined) wrong.push(`${args.join(' ')}: ${trouble}`)
    }
    expect(wrong).toEqual([])
  })

  test('prints JSON and ends as it should on a live cluster', async () => {
    const [first, second] = cluster.nodes.map((node) => node.http) as [string, string]
    const listen = ['rooms', 'listen', 'log-lobby', '--user', 'walker', '--addr', first, '--json']
    const listener = spawn(process.execPath, [bin, ...listen], { stdio: ['ignore', 'pipe', 'inherit'] })
    const listened = new Promise<number | null>((done) => listener.once('close', done))
    const wrong: string[] = []
    const walked = await walk(
      here,
      { addr: first, otherAddr: second, dir: mkdtempSync(join(dir, 'walk-')) },
      {
        step: (what, problem) => {
          if (problem !== undefined) wrong.push(`${what}: ${problem}`)
        },
      },
    )
    listener.kill('SIGINT')
    expect(await listened).toBe(0)
    expect(wrong).toEqual([])
    const paths = commandsOf(buildProgram()).map(({ path }) => path.replace(/^skein /, ''))
    expect(paths.filter((path) => !walked.has(path) && !endless.includes(path))).toEqual([])
  }, 120_000)
})

test('of several addresses the next is asked when one cannot be reached, also to write', async () => {
  const addr = `127.0.0.1:1,${cluster.nodes[0]?.http}`
  const event = ['--stream', 's', '--key', 'k', '--addr', addr, '--json']
  expect((await here(['events', 'send', 'hello', ...event])).code).toBe(0)
  const got = await here(['events', 'get', ...event])
  expect(JSON.parse(got.stdout)).toMatchObject({ payload: 'hello' })
})

describe('in a terminal', () => {
  const addr = (): string => cluster.nodes[0]?.http as string

  test('--watch draws in place, and ends with 0 at Ctrl-C', async () => {
    const terminal = new InTerminal(['nodes', 'ls', '--watch', '--interval', '1', '--addr', addr()])
    await terminal.shows(/node-2/)
    await terminal.shows(new RegExp(`${escape_}\\[\\d+A\\r[\\s\\S]*node-2[\\s\\S]*${escape_}\\[J`))
    terminal.type('\u0003')
    expect(await terminal.ended).toBe(0)
  })

  test('a drain shows a bar; Ctrl-C leaves it to itself and says how to look at it again', async () => {
    const [id] = ['pinned']
    await here(['agents', 'create', id, '--node', 'node-2', '--addr', addr(), '--', 'sleep', '1000'])
    const terminal = new InTerminal(['nodes', 'drain', 'node-2', '--deadline', '300', '--addr', addr()])
    await terminal.shows(/\[[#.]{24}\]\s+\d+ %\s+drain of node-2/)
    terminal.type('\u0003')
    const again = await terminal.shows(/skein operations follow [0-9a-f]+/)
    // As a program that is interrupted ends: what waits for it ends, too.
    expect(await terminal.ended).toBe(130)
    const shown = await here([
      'operations',
      'show',
      again.split(' ').at(-1) as string,
      '--addr',
      addr(),
      '--json',
    ])
    expect(JSON.parse(shown.stdout)).toMatchObject({ kind: 'drain', node_id: 'node-2', state: 'running' })
    expect((await here(['nodes', 'uncordon', 'node-2', '--addr', addr()])).code).toBe(0)
    expect((await here(['agents', 'stop', id, '--addr', addr()])).code).toBe(0)
  })

  test('top follows the keys, goes on with another node when its own is gone, and gives the terminal back', async () => {
    const terminal = new InTerminal(['top', '--addr', addr()])
    await terminal.shows(/cluster [\s\S]*leader [\s\S]*node-1[\s\S]*node-2/)
    expect(terminal.text).toContain(enter)
    let from = terminal.text.length
    terminal.type('\u001b[C')
    await terminal.shows(/AGENT\s+KIND/, from)
    terminal.type('\u001b[D')
    from = terminal.text.length
    terminal.type('ps')
    await terminal.shows(/PAUSED[\s\S]*s sort \(status\)/, from)
    terminal.type('p')
    from = terminal.text.length
    await cluster.nodes[0]?.kill()
    await terminal.shows(
      new RegExp(`seen by node-2 \\(${cluster.nodes[1]?.http}\\)[\\s\\S]*lost ${addr()}: `),
      from,
    )
    await terminal.shows(/ALARM[\s\S]*members: node-1 is failed/, from)
    terminal.type('q')
    expect(await terminal.ended).toBe(0)
    expect(terminal.text.endsWith(leave)).toBe(true)
    const own = ['--port', '0', '--peer-port', '0', '--data-dir', join(dir, 'doctor')]
    const seen = await here(['doctor', ...own, '--addr', cluster.nodes[1]?.http as string, '--json'])
    expect(seen.code).toBe(1)
    expect(
      (JSON.parse(seen.stdout) as { name: string }[]).find(({ name }) => name === 'members'),
    ).toMatchObject({
      ok: false,
      detail: 'node-1 is failed',
      fix: expect.stringContaining('skein nodes why node-1'),
    })
    await cluster.nodes[0]?.start()
  })

  test('top that is ended by a signal gives the terminal back, too', async () => {
    const terminal = new InTerminal(['top', '--addr', addr()])
    await terminal.shows(/node-1[\s\S]*node-2/)
    process.kill(Number(/pid=(\d+)/.exec(terminal.text)?.[1]), 'SIGTERM')
    expect(await terminal.ended).toBe(0)
    expect(terminal.text.endsWith(leave)).toBe(true)
  })
})

test('bash completes commands, options and names of the cluster', () => {
  const shim = join(dir, 'skein')
  writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${bin}' "$@"\n`)
  chmodSync(shim, 0o755)
  const ask = (line: string): string =>
    `COMP_LINE='${line}'; COMP_POINT=${line.length}; _skein; echo "\${COMPREPLY[*]}"`
  const lines = ['skein nodes dr', 'skein nodes show no', 'skein nodes drain x --dead']
  const { stdout } = spawnSync(
    'bash',
    ['-c', `source <(skein completion bash); ${lines.map(ask).join('; ')}`],
    {
      encoding: 'utf8',
      env: { PATH: `${dir}:${process.env.PATH}`, SKEIN_ADDR: cluster.nodes[0]?.http as string },
    },
  )
  expect(stdout.trim().split('\n')).toEqual(['drain', 'node-1 node-2', '--deadline'])
})
