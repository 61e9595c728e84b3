/**
 * One program with all that it starts: a session and process group of its own. It is gone when nothing is left of the group, zombies apart.
 *
 * `setpriv` (util-linux) has the kernel kill the first process when the guard dies, even by SIGKILL. A group's id is not given to anybody else while the group
 * has a member, so signals go to the group only until it has been seen empty.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readlinkSync, realpathSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { CannotStart, findCommand } from './find-command.js'
import { GroupTable } from './group-usage.js'
import { markVariable, sendSignal } from './marked-processes.js'
import { OutputPipe } from './output-pipe.js'

/** An exec takes a millisecond; a loaded machine is given time. Longer, and the program counts as started. */
const execMsMax = 2_000
/** From then on a group that still takes signals is looked up in /proc: it may consist of zombies that nobody collects. */
const zombiesAfterMs = 40
const pollMsMax = 100
const wordsMsMax = 500

export interface GroupOrder {
  readonly command: string
  readonly args: readonly string[]
  /** All of it, but for the mark. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
}

export interface ExitStatus {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class ChildGroup {
  readonly pid: number
  readonly mark: string
  /** Of the first process. */
  readonly exited: Promise<ExitStatus>
  readonly stdout: OutputPipe
  readonly stderr: OutputPipe
  readonly #child: ChildProcess
  readonly #table: GroupTable
  #gone: Promise<void> | undefined
  #isGone = false
  #isKilled = false

  constructor(child: ChildProcess, mark: string, table: GroupTable) {
    this.#child = child
    this.#table = table
    this.pid = child.pid as number
    this.mark = mark
    this.stdout = new OutputPipe(child.stdout as Readable)
    this.stderr = new OutputPipe(child.stderr as Readable)
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }))
    })
  }

  get stdin(): Writable {
    return this.#child.stdin as Writable
  }

  get isKilled(): boolean {
    return this.#isKilled
  }

  /** To all of the group; false when it is gone. */
  signal(signal: NodeJS.Signals): boolean {
    return !this.#isGone && sendSignal(-this.pid, signal)
  }

  /** To the first process; false when it has ended. */
  signalFirst(signal: NodeJS.Signals): boolean {
    return this.#child.kill(signal)
  }

  /** SIGKILL to all of the group, again and again until it is gone. */
  kill(): void {
    this.#isKilled = true
    this.signal('SIGKILL')
  }

  /** Resolves when nothing is left. It does not make that come true: see `kill`. */
  gone(): Promise<void> {
    this.#gone ??= this.#waitUntilGone()
    return this.#gone
  }

  async #waitUntilGone(): Promise<void> {
    await this.exited
    const startedMs = monotonicMs()
    for (let pauseMs = 1; ; pauseMs = Math.min(pollMsMax, pauseMs * 2)) {
      if (!sendSignal(-this.pid, this.#isKilled ? 'SIGKILL' : 0)) break
      if (monotonicMs() - startedMs > zombiesAfterMs) {
        const groups = await Promise.race([this.#table.read(20), sleep(1_000, undefined)])
        if (groups?.has(this.pid) === false) break
      }
      await sleep(pauseMs)
    }
    this.#isGone = true
  }
}

/** Starts groups and knows all that are not gone. */
export class ChildGroups {
  readonly table = new GroupTable()
  readonly #guardMark: string
  readonly #setpriv: string | undefined
  readonly #whyNot: () => string | undefined
  readonly #living = new Set<ChildGroup>()
  #runs = 0

  /** `whyNot`: what forbids to start anything at this moment. */
  constructor(options: {
    readonly mark: string
    readonly setpriv: string | undefined
    readonly whyNot: () => string | undefined
  }) {
    this.#guardMark = options.mark
    this.#whyNot = options.whyNot
    // As /proc names it.
    this.#setpriv = options.setpriv === undefined ? undefined : realpathSync(options.setpriv)
  }

  /** Resolves when the program itself runs (or ran, and has ended already). Throws `CannotStart`. */
  async start(
    order: GroupOrder,
    asker: { readonly whyNot: () => string | undefined; readonly onSpawned: (group: ChildGroup) => void },
  ): Promise<ChildGroup> {
    const file = await findCommand(order.command, order.env.PATH ?? '', order.cwd)
    const why = this.#whyNot() ?? asker.whyNot()
    if (why !== undefined) throw new CannotStart(why)
    const group = await this.#spawn(file, order)
    asker.onSpawned(group)
    await this.#untilItself(group)
    return group
  }

  killAll(): void {
    for (const group of this.#living) group.kill()
  }

  async allGone(): Promise<void> {
    while (this.#living.size > 0) await Promise.all([...this.#living].map((group) => group.gone()))
  }

  async #spawn(file: string, order: GroupOrder): Promise<ChildGroup> {
    const mark = `${this.#guardMark}/${++this.#runs}`
    const [program, ...before] =
      this.#setpriv === undefined ? [file] : [this.#setpriv, '--pdeathsig', 'KILL', '--', file]
    try {
      const child = spawn(program as string, [...before, ...order.args], {
        cwd: order.cwd,
        env: { ...order.env, [markVariable]: mark },
        detached: true,
        stdio: ['pipe', 'pipe', 'pipe'],
      })
      const failed = new Promise<never>((_, reject) => child.once('error', reject))
      if (child.pid === undefined) return await failed
      failed.catch(() => undefined)
      const group = new ChildGroup(child, mark, this.table)
      this.#living.add(group)
      void group.gone().then(() => this.#living.delete(group))
      // A program that closes its stdin, or ends, while text is on its way: whoever wrote asks `writable`.
      group.stdin.on('error', () => undefined)
      return group
    } catch (error) {
      throw new CannotStart(error instanceof Error ? error.message : String(error))
    }
  }

  /** Until /proc shows the program in place of setpriv. Throws when setpriv could not start it. */
  async #untilItself(group: ChildGroup): Promise<void> {
    if (this.#setpriv === undefined) return
    const startedMs = monotonicMs()
    for (;;) {
      const executable = executableOf(group.pid)
      if (executable === 'ended') break
      if (executable !== this.#setpriv || monotonicMs() - startedMs > execMsMax) return
      await sleep(1)
    }
    const { code } = await group.exited
    // What setpriv exits with when it cannot, see execvp in setpriv(1); programs may do the same for reasons of their own.
    if (code !== 126 && code !== 127) return
    await Promise.race([group.stderr.closed, sleep(wordsMsMax)])
    const words = group.stderr.early.toString('utf8')
    if (!words.startsWith('setpriv: ')) return
    group.kill()
    await group.gone()
    throw new CannotStart(words.trim().replace(/^setpriv: /, ''))
  }
}

function executableOf(pid: number): string | 'ended' | 'hidden' {
  try {
    return readlinkSync(`/proc/${pid}/exe`)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'ended' : 'hidden'
  }
}
