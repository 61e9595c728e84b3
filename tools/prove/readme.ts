// The README as a new user would follow it: a cluster by `up`, every command of its five minutes as printed there, and what they must say
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { sleep, Verdict } from './lib/cluster.js'

const root = resolve(import.meta.dirname, '../..')
/** As a clone that is set up, with a `.skein` of its own. */
const dir = mkdtempSync(join(tmpdir(), 'skein-readme-'))
for (const name of ['bin', 'examples', 'node_modules', 'package.json'])
  symlinkSync(join(root, name), join(dir, name))
const ports = [8151, 8152, 8153, 6745, 6746, 6747]

/** Which command must say what; each must be met by one line of the README. */
const wanted: readonly { readonly command: RegExp; readonly says: RegExp }[] = [
  { command: /^curl .*-XPOST/, says: /"accepted":1,.*"status":"accepted"/ },
  { command: /^curl .*key=alice/, says: /"key":"alice","type":"hello","payload":\{"n":1\}/ },
  { command: /agents create tick/, says: /tick is (starting|running) on node-\d/ },
  { command: /agents logs tick/, says: /\d\d:\d\d:\d\d/ },
  { command: /rooms listen lobby/, says: /hello, all of you/ },
  { command: /rooms send lobby/, says: /sent/ },
  { command: /examples\/embed\.ts/, says: /customer-1 has 1 orders/ },
  { command: /^pkill -9/, says: /^$/ },
  { command: /nodes why node-2/, says: /redial refused/ },
  { command: /history --limit/, says: /member\.failed .*node-2/ },
  { command: /agents ls/, says: /tick +process +running/ },
]

/** Printed there, and ended here once they have said it: they go on for ever. */
const isEndless = (command: string): boolean => /listen|embed|logs/.test(command)

function commandsOf(readme: string): string[] {
  const blocks = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, text]) => text ?? '')
  return blocks.flatMap((text) => text.split('\n')).filter((line) => line !== '' && !line.startsWith('#'))
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}

class Shell {
  said = ''
  readonly child: ChildProcess

  /** A group of its own, so that what it started ends with it. */
  constructor(command: string) {
    this.child = spawn('bash', ['-c', command], {
      cwd: dir,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (bytes: Buffer) => {
        this.said += bytes.toString()
      })
  }

  get isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  async until(isTrue: () => boolean, limitMs: number): Promise<boolean> {
    const endMs = performance.now() + limitMs
    while (!isTrue() && performance.now() < endMs) await sleep(50)
    return isTrue()
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (!this.isOver) process.kill(-(this.child.pid as number), signal)
    await this.until(() => this.isOver, 20_000)
  }
}

const verdict = new Verdict()
for (const port of ports)
  if (!(await isFree(port)))
    throw new Error(`port ${port}, which the README names, is taken by another process`)

const startedMs = performance.now()
// What `npm start` does when all is installed.
const up = new Shell('exec node bin/skein.js up --nodes 3')
const shells: Shell[] = []
try {
  verdict.check('a cluster of three', await up.until(() => up.said.includes('Now break it'), 60_000), '')
  const commands = commandsOf(readFileSync(join(root, 'README.md'), 'utf8'))
  for (const { command } of wanted) {
    const found = commands.filter((line) => command.test(line))
    if (found.length !== 1) verdict.check(`the README has ${command}`, false, `${found.length} times`)
  }
  for (const line of commands) {
    const facts = wanted.find(({ command }) => command.test(line))
    if (facts === undefined) {
      verdict.check(`known: ${line}`, false, 'no expectation for this line')
      continue
    }
    const fromMs = performance.now()
    const shell = new Shell(line.replace(/ &$/, ''))
    shells.push(shell)
    if (/listen/.test(line)) {
      // It is to hear what the next line says.
      await sleep(2_000)
      continue
    }
    // The embedded one goes on beside what follows, as it would in a terminal of its own.
    const isMet = (): boolean => facts.says.test(shell.said.trim())
    const ok = await shell.until(() => (isEndless(line) ? isMet() : shell.isOver), 60_000)
    verdict.check(
      line.slice(0, 90),
      ok && isMet(),
      ok && isMet() ? `${Math.round(performance.now() - fromMs)} ms` : shell.said,
    )
    if (/^pkill/.test(line)) await sleep(3_000)
  }
  const listener = shells.find(({ said }) => said.includes('hello, all of you'))
  verdict.check('the listener heard it on the other node', listener !== undefined, '')
  for (const shell of shells) await shell.end('SIGINT')
  await up.end('SIGINT')
  verdict.check('Ctrl-C drains and stops all', up.child.exitCode === 0, `exit code ${up.child.exitCode}`)
  console.log(
    `     ${Math.round((performance.now() - startedMs) / 1_000)} s from the first command to the last`,
  )
} finally {
  for (const shell of [...shells, up]) await shell.end('SIGKILL').catch(() => {})
  rmSync(dir, { recursive: true, force: true })
}
verdict.end()
