/**
 * The guard: a small process of its own session that runs a node's process agents and ends them all, by SIGKILL, when the node can no longer answer for them: its main thread's pipe or its
 * control thread's connection closes without a goodbye, the lease's deadline passes, or the lease is given up. It then ends itself, after the last of them: its life lock, held from here until
 * death, is the proof that none of them lives.
 *
 * The deadline is looked at before anything that comes in is believed. A guard that was frozen past it kills first.
 *
 * Signals that ask it to end are ignored: whoever ends a whole session or control group asks the node as well, and the node needs its agents while it drains.
 */
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Instant } from '../../core/kernel/machine.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { SqliteLifeLocks } from '../../engines/sqlite/life-lock.js'
import { ownIdentity } from '../../engines/sqlite/process-identity.js'
import { Agents } from './agents.js'
import { ChildGroups } from './child-group.js'
import { CannotStart, findCommand } from './find-command.js'
import { encodeFrame, FrameReader } from './frames.js'
import { Hooks } from './hooks.js'
import { LeaseDeadline } from './lease-deadline.js'
import { endMarked } from './marked-processes.js'
import { type CallName, type FromGuard, type GuardCalls, type ToGuard, toErrorData } from './protocol.js'
import { RenewalListener } from './renewal-listener.js'
import { RunSweeper } from './run-sweeper.js'
import { frameBytesMax, type GuardSetup } from './settings.js'

/** File descriptor of the pipe to the node's main thread. */
const nodeFd = 3
/** A suspended host is noticed so soon after it wakes, ms. */
const lookMsMax = 200
/** What waits for a node that does not read; beyond it live output is passed over. */
const outputWaitingBytesMax = 1_024 * 1_024
/** For what left its group, at the end. */
const sweepMsMax = 2_000
/** For the last word to the node. */
const farewellMsMax = 200

type Handlers = { readonly [Call in CallName]: (args: GuardCalls[Call]['args']) => unknown }

class Guard {
  readonly #channel: Socket
  readonly #setup: GuardSetup
  readonly #deadline = new LeaseDeadline()
  readonly #groups: ChildGroups
  readonly #handlers: Handlers
  readonly #renewals: RenewalListener
  #timer: NodeJS.Timeout | undefined
  #ending: string | undefined

  constructor(channel: Socket, setup: GuardSetup, setpriv: string | undefined) {
    this.#channel = channel
    this.#setup = setup
    const { nodeId, agentsDir, limits, mark, token, socketPath } = setup
    const whyNot = () => {
      this.look()
      return this.#ending ?? this.#deadline.whyNot(readInstant())
    }
    const isEnding = () => this.look()
    const onNote = (event: string, fields: Readonly<Record<string, unknown>>) =>
      this.send({ type: 'note', event, fields })
    this.#groups = new ChildGroups({ mark, setpriv, whyNot })
    const sweeper = new RunSweeper(mark, (run) => onNote('agent.processes_left', { mark: run }))
    const world = { nodeId, groups: this.#groups, sweeper, whyNot, isEnding, onNote }
    const agents = new Agents({
      ...world,
      agentsDir,
      limits,
      emit: (event, startTicks) =>
        this.send({ type: 'event', event, ...(startTicks === undefined ? {} : { startTicks }) }),
      onLines: (name, lines) => {
        if (channel.writableLength < outputWaitingBytesMax) this.send({ type: 'output', name, lines })
      },
    })
    const hooks = new Hooks(world)
    this.#handlers = {
      start: ({ spec, epoch }) => agents.start(spec, epoch),
      stop: ({ name, epoch, graceMs }) => agents.stop(name, epoch, graceMs),
      pause: ({ name }) => agents.pause(name),
      resume: ({ name }) => agents.resume(name),
      signal: ({ name, signal }) => agents.signal(name, signal),
      input: ({ name, text }) => agents.input(name, text),
      output: ({ name, afterSeq, limit }) => agents.output(name, afterSeq, limit),
      state: ({ name }) => agents.state(name),
      run: ({ hook }) => hooks.run(hook),
      ping: () => null,
    }
    this.#renewals = new RenewalListener({
      token,
      socketPath,
      isEnding,
      onRenewal: (renewal) => {
        this.#deadline.renew(renewal, readInstant())
        this.look()
      },
      onGone: (detail) => this.end(detail),
    })
  }

  async start(): Promise<void> {
    const lock = new SqliteLifeLocks().hold(this.#setup.lifeLockPath)
    await this.#renewals.listen()
    this.look()
    this.send({ type: 'ready', lifeLock: lock.locator })
  }

  /** Is it over? Looks at the clocks first, and ends everything if it is. Cheap: called before anything that comes in is believed. */
  look(): boolean {
    if (this.#ending !== undefined) return true
    clearTimeout(this.#timer)
    const at = readInstant()
    const passed = this.#deadline.passed(at)
    if (passed !== undefined) this.end(passed)
    else
      this.#timer = setTimeout(
        () => this.look(),
        Math.max(1, Math.min(lookMsMax, this.#deadline.remainingMs(at.nowMs))),
      )
    return this.#ending !== undefined
  }

  receive(message: ToGuard): void {
    if (message.type === 'bye') this.end('the node asked for it')
    else if (message.type === 'call') void this.#answer(message)
  }

  send(message: FromGuard): void {
    if (!this.#channel.destroyed) this.#channel.write(encodeFrame(message))
  }

  /** Kills everything, now; ends when nothing is left. */
  end(detail: string): void {
    if (this.#ending !== undefined) return
    this.#ending = detail
    this.#groups.killAll()
    this.#renewals.sayKilling()
    void this.#finish(detail)
  }

  async #finish(detail: string): Promise<void> {
    try {
      this.#renewals.close()
      await this.#groups.allGone()
      await endMarked(`${this.#setup.mark}/`, ownIdentity().startTicks, 'without_guards', sweepMsMax)
      log(`ended: ${detail}`)
    } catch (error) {
      log(`ended: ${detail}; ${inFull(error)}`)
    }
    setTimeout(() => process.exit(0), farewellMsMax)
    if (this.#channel.destroyed) process.exit(0)
    this.#channel.end(encodeFrame({ type: 'ending', detail } satisfies FromGuard), () => process.exit(0))
  }

  async #answer({ id, call, args }: Extract<ToGuard, { type: 'call' }>): Promise<void> {
    try {
      this.send({ type: 'value', id, value: (await this.#handlers[call](args as never)) ?? null })
    } catch (error) {
      this.send({ type: 'error', id, error: toErrorData(error) })
    }
  }
}

function readInstant(): Instant {
  return { nowMs: monotonicMs(), wallMs: Date.now() }
}

function inFull(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

async function findSetpriv(): Promise<string | undefined> {
  try {
    return await findCommand('setpriv', `${process.env.PATH ?? ''}:/usr/local/bin:/usr/bin:/bin`, '/')
  } catch (error) {
    if (error instanceof CannotStart) return undefined
    throw error
  }
}

/** Into the guard's log file. */
function log(text: string): void {
  writeSync(2, `${new Date().toISOString()} guard ${process.pid}: ${text}\n`)
}

function main(): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)
    process.on(signal, () => log(`ignored ${signal}: the node ends it`))
  const channel = new Socket({ fd: nodeFd, readable: true, writable: true })
  const reader = new FrameReader(frameBytesMax)
  let guard: Guard | undefined
  const nodeIsGone = () => {
    if (guard === undefined) process.exit(0)
    guard.end('the pipe to the node closed')
  }
  const crash = (error: unknown) => {
    guard?.end('the guard failed')
    log(inFull(error))
    if (guard === undefined) process.exit(70)
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
  const begin = async (setup: GuardSetup) => {
    try {
      process.title = `skein-guard ${setup.nodeId}`
      guard = new Guard(channel, setup, await findSetpriv())
      await guard.start()
    } catch (error) {
      const farewell = encodeFrame({ type: 'not_ready', error: toErrorData(error) } satisfies FromGuard)
      channel.end(farewell, () => process.exit(0))
    }
  }
  channel.on('data', (chunk: Buffer) => {
    for (const message of reader.read(chunk) as Generator<ToGuard>) {
      if (guard?.look() === true) return
      if (message.type === 'setup') void begin(message.setup)
      else guard?.receive(message)
    }
  })
  channel.on('error', nodeIsGone)
  channel.once('end', nodeIsGone)
  channel.once('close', nodeIsGone)
}

main()
