/**
 * One etcd process: started, watched, started again with growing pauses when it ends by itself, ended with the node.
 *
 * It must not outlive the node: `setpriv` (util-linux) has the kernel end it when the thread that started it is gone. Where that
 * program is missing, a survivor is found by its data directory at the next start and ended then.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { delimiter, dirname, isAbsolute, join } from 'node:path'
import { monotonicMs } from '../../engines/sqlite/clock.js'

export interface EtcdProcessOptions {
  readonly binary: string
  readonly dataDir: string
  readonly args: readonly string[]
  /** It ended by itself. False: it is not to be started again. */
  readonly onExit: (end: { readonly code: string; readonly lastWords: string }) => Promise<boolean>
}

const pauseMsFirst = 100
const pauseMsMax = 10_000
/** After running so long, the next end is a new trouble. */
const steadyMs = 30_000
const termMsMax = 5_000

export class EtcdProcess {
  readonly #options: EtcdProcessOptions
  #child: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #lastWords = ''
  #failures = 0
  #startedMs = 0
  #isStopping = false

  constructor(options: EtcdProcessOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  get lastWords(): string {
    return this.#lastWords
  }

  start(): void {
    if (this.#isStopping || this.#child !== undefined) return
    const { binary, dataDir, args } = this.#options
    endSurvivors(dataDir)
    const setpriv = findProgram('setpriv')
    const [program, ...before] = setpriv === undefined ? [binary] : [setpriv, '--pdeathsig', 'TERM', binary]
    this.#startedMs = monotonicMs()
    const child = spawn(program!, [...before, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env.PATH ?? '', GOGC: '50' },
    })
    this.#child = child
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#lastWords = (this.#lastWords + chunk.toString('utf8')).slice(-4000)
    })
    child.once('error', (error) => {
      this.#lastWords = error.message
      this.#ended(child, 'not started')
    })
    child.once('exit', (code, signal) => this.#ended(child, String(code ?? signal)))
  }

  /** Lets it hand leadership on, then makes it end. */
  async stop(): Promise<void> {
    this.#isStopping = true
    clearTimeout(this.#timer)
    const child = this.#child
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    const force = setTimeout(() => child.kill('SIGKILL'), termMsMax)
    await gone
    clearTimeout(force)
  }

  #ended(child: ChildProcess, code: string): void {
    if (this.#child !== child) return
    this.#child = undefined
    if (this.#isStopping) return
    this.#failures = monotonicMs() - this.#startedMs > steadyMs ? 1 : this.#failures + 1
    const pauseMs = Math.min(pauseMsMax, pauseMsFirst * 2 ** Math.min(this.#failures - 1, 10))
    this.#options.onExit({ code, lastWords: this.#lastWords }).then(
      (again) => {
        if (again && !this.#isStopping) this.#timer = setTimeout(() => this.start(), pauseMs)
      },
      () => {
        this.#timer = setTimeout(() => this.start(), pauseMs)
      },
    )
  }
}

/** Full path of an executable of the PATH or the usual places. */
export function findProgram(name: string): string | undefined {
  if (name.includes('/')) return isExecutable(name) ? name : undefined
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/bin', '/usr/bin', '/usr/sbin']
  return places.map((place) => join(place, name)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Ends processes that have this very data directory as their argument: they are ours, of a node that is gone. The same path
 * may be another directory to a process in a container, which we see when we run outside of it: such a one is not ours.
 */
function endSurvivors(dataDir: string): void {
  if (!existsSync('/proc/self/cmdline')) return
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const isOurs = args.includes(`--data-dir=${dataDir}`) && isSameDirectory(dataDir, pid)
      if (isOurs) process.kill(Number(pid), 'SIGKILL')
    } catch {
      // Gone meanwhile, or another user's.
    }
  }
}

/** Whether a path, or what is left of it, leads to the same directory for that process as for us. */
function isSameDirectory(path: string, pid: string): boolean {
  let left = path
  while (!existsSync(left)) left = dirname(left)
  const [ours, theirs] = [
    statSync(left),
    statSync(join(`/proc/${pid}/${isAbsolute(path) ? 'root' : 'cwd'}`, left)),
  ]
  return ours.dev === theirs.dev && ours.ino === theirs.ino
}
