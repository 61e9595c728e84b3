// Every command of the tree with --help, with --json on a live cluster and where no node is: what it prints parses, what it ends with is right
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { commandsOf } from '../../src/cli/command.js'
import { buildProgram } from '../../src/cli/program.js'
import { ProcessCluster, Verdict } from './lib/cluster.js'
import { askingCommands, endless, failureTrouble, type Ran, walk } from './lib/command-walk.js'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
const dir = mkdtempSync(join(tmpdir(), 'skein-commands-'))
const verdict = new Verdict()
const program = buildProgram()
const all = commandsOf(program)
const pathsOf = all.map((command) => command.path.split(' ').slice(1).join(' '))

function start(args: readonly string[]): ChildProcess & { ran: Promise<Ran> } {
  const env = { PATH: process.env.PATH }
  const child = spawn(process.execPath, [bin, ...args], { cwd: dir, env })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += String(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += String(chunk)
  })
  child.stdin.end()
  const ran = new Promise<Ran>((done) => child.once('close', (code) => done({ code, stdout, stderr })))
  return Object.assign(child, { ran })
}

const run = (args: readonly string[]): Promise<Ran> => start(args).ran

/** Two at a time: there may be no more processors. */
async function each<T>(list: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const rest = [...list]
  await Promise.all(
    [1, 2].map(async () => {
      for (let one = rest.shift(); one !== undefined; one = rest.shift()) await work(one)
    }),
  )
}

// --- help ------------------------------------------------------------------------------------------------------------------

let helped = 0
await each(all, async (command) => {
  const { code, stdout, stderr } = await run([...command.path.split(' ').slice(1), '--help'])
  const isWhole = ['Usage: skein ', 'Examples:', 'Exit codes:', '--json'].every((words) =>
    stdout.includes(words),
  )
  if (code === 0 && stderr === '' && isWhole) helped++
  else verdict.check(`${command.path} --help`, false, `ended with ${code}: ${stderr.slice(0, 200)}`)
})
verdict.check('help of every command', helped === all.length, `${helped} of ${all.length}`)

// --- where no node is --------------------------------------------------------------------------------------------------------

const nowhere = await unusedAddress()
const asking = askingCommands(program, dir)
let silent = 0
await each(asking, async (args) => {
  const ran = await run([...args, '--addr', nowhere, '--json'])
  const trouble = ran.code === 3 && ran.stdout === '' ? failureTrouble(ran) : `ended with ${ran.code}`
  if (trouble === undefined) silent++
  else
    verdict.check(
      `skein ${args.join(' ')} where no node is`,
      false,
      `${trouble}: ${ran.stderr.slice(0, 200)}`,
    )
})
verdict.check(
  'commands that ask end with 3 where no node is',
  silent === asking.length,
  `${silent} of ${asking.length}`,
)

// --- a live cluster ------------------------------------------------------------------------------------------------------------

const module_ = resolve(import.meta.dirname, 'lib/commands-module.mjs')
const cluster = new ProcessCluster([
  '--allow-exec',
  '--load',
  module_,
  '--room-history',
  'log-',
  '--preset',
  'local',
])
await cluster.start(2)
const [first, second] = cluster.nodes.map((node) => node.http) as [string, string]

const live = [
  ['events tail', '--stream', 'walk'],
  ['rooms listen', 'log-lobby', '--user', 'walker'],
].map(([path, ...args]) => start([...(path as string).split(' '), ...args, '--addr', first, '--json']))

let steps = 0
let right = 0
const walked = await walk(
  run,
  { addr: first, otherAddr: second, dir: mkdtempSync(join(dir, 'walk-')) },
  {
    step: (what, problem) => {
      steps++
      if (problem === undefined) right++
      else verdict.check(what, false, problem)
    },
  },
)
verdict.check('on a live cluster', right === steps, `${right} of ${steps} as they should be`)
const left = pathsOf.filter((path) => !walked.has(path) && !endless.includes(path))
verdict.check('no command is left out', left.length === 0, left.join(', ') || `${walked.size} walked`)

for (const child of live) child.kill('SIGINT')
for (const { ran } of live) {
  const { code, stdout, stderr } = await ran
  const isJson = stdout
    .trim()
    .split('\n')
    .every((line) => line.startsWith('{'))
  verdict.check(
    'one that goes on ends with 0 at Ctrl-C',
    code === 0 && stdout !== '' && isJson,
    `${code} ${stderr}`,
  )
}

// --- watching ------------------------------------------------------------------------------------------------------------------

const watching = all.filter((command) => command.options.some(({ long }) => long === '--watch'))
const looked = ['status', 'nodes ls', 'top']
for (const path of looked) {
  const child = start([...path.split(' '), '--watch', '--interval', '1', '--json', '--addr', first])
  let seen = 0
  child.stdout?.on('data', (chunk: Buffer) => {
    seen += String(chunk).split('\n').length - 1
    if (seen >= 2) child.kill('SIGINT')
  })
  const { code, stdout } = await child.ran
  const documents = stdout.trim().split('\n')
  const areJson = documents.every((line) => typeof JSON.parse(line) === 'object')
  verdict.check(
    `${path} --watch --json`,
    code === 0 && areJson && documents.length >= 2,
    `${documents.length} lines, ${code}`,
  )
}
verdict.check('what shows something can be watched', watching.length >= 30, `${watching.length} commands`)

// --- shells ---------------------------------------------------------------------------------------------------------------------

writeFileSync(join(dir, 'skein'), `#!/bin/sh\nexec '${process.execPath}' '${bin}' "$@"\n`, { mode: 0o755 })
const asked = 'skein nodes show no'
for (const [shell, script] of [
  [
    'bash',
    `source <(skein completion bash); COMP_LINE='${asked}' COMP_POINT=19 _skein; echo "\${COMPREPLY[*]}"`,
  ],
  ['fish', `skein completion fish | source; complete -C '${asked}' | cut -f 1`],
  ['zsh', 'skein completion zsh > c && zsh -n c && skein complete -- nodes show no | cut -f 1'],
] as const) {
  const env = { PATH: `${dir}:${process.env.PATH}`, SKEIN_ADDR: first, HOME: dir }
  const { error, stdout, stderr } = spawnSync(shell, ['-c', script], { cwd: dir, env, encoding: 'utf8' })
  const names = stdout?.trim().split(/\s+/).join(' ')
  if (error !== undefined) console.log(`     ${shell} is not installed here: not tried`)
  else verdict.check(`${shell} completes names of nodes`, names === 'node-1 node-2', names || stderr)
}

// --- what goes on by itself -------------------------------------------------------------------------------------------------------

for (const args of [
  ['start', '--port', '0', '--peer-port', '0', '--data-dir', join(dir, 'alone', 'node')],
  ['up', '--nodes', '1', '--dir', join(dir, 'up')],
]) {
  const child = start([...args, '--json'])
  child.stdout?.once('data', () => child.kill('SIGINT'))
  const { code, stdout, stderr } = await child.ran
  const isJson = typeof JSON.parse(stdout.split('\n')[0] as string) === 'object'
  verdict.check(
    `skein ${args[0]} ends with 0 at Ctrl-C`,
    code === 0 && isJson,
    code === 0 ? '0' : stderr.slice(-300),
  )
}

cluster.end()
rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
verdict.end()

async function unusedAddress(): Promise<string> {
  const server = createServer()
  await new Promise<void>((up) => server.listen(0, '127.0.0.1', up))
  const { port } = server.address() as { port: number }
  await new Promise((closed) => server.close(closed))
  return `127.0.0.1:${port}`
}
