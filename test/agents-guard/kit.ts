/** A guard bundled from the sources, agents in it, and the means to wait for what happens to them. Every wait is bounded and says what it has seen. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { GuardRenewalSender } from '../../src/drivers/agent-guard/guard-renewals.js'
import { GuardedProcesses } from '../../src/drivers/agent-guard/guarded-processes.js'
import type { GuardLimits } from '../../src/drivers/agent-guard/settings.js'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import { SqliteLifeLocks } from '../../src/engines/sqlite/life-lock.js'
import type { ProcessEvent, ProcessSpec } from '../../src/ports/agent-processes.js'

const waitMsMax = 30_000
/** Inside the project, so that the bundles find its dependencies. */
const root = fileURLToPath(new URL('../..', import.meta.url))
const bundles = `${root}/node_modules/.cache/skein-guard-${process.pid}`

export async function buildFromSources(): Promise<void> {
  mkdirSync(bundles, { recursive: true })
  await build({
    entryPoints: {
      guard: `${root}/src/drivers/agent-guard/guard.ts`,
      'guarded-node': `${root}/test/agents-guard/fixtures/guarded-node.ts`,
    },
    outdir: bundles,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
  })
}

/** Bundles and directories. */
export function removeFiles(): void {
  for (const path of [bundles, ...made.splice(0)]) rmSync(path, { recursive: true, force: true })
}

export const guardEntry = (): URL => pathToFileURL(`${bundles}/guard.mjs`)

export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  seen: () => unknown = () => '',
): Promise<NonNullable<T>> {
  const startedMs = monotonicMs()
  for (;;) {
    const found = await look()
    if (found) return found as NonNullable<T>
    if (monotonicMs() - startedMs > waitMsMax)
      throw new Error(`${what}: not within ${waitMsMax} ms; seen: ${JSON.stringify(seen())}`)
    await sleep(5)
  }
}

/** Runs, and is no zombie. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

/** Processes of agents, wherever they have moved, that guards of this data directory have started. */
export function marked(dataDir: string): number[] {
  const { dev, ino } = statSync(join(dataDir, 'guard'))
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1')
          .split('\0')
          .some((entry) => entry.startsWith(`SKEIN_AGENT_GUARD=${dev}:${ino}/`) && !entry.endsWith('/0'))
      } catch {
        return false
      }
    })
    .map(Number)
}

/** Renewals without the watch over the guard that a node has. */
export class BareRenewals {
  readonly socket: Socket

  constructor(renewalAddress: string) {
    const { socketPath, token } = JSON.parse(renewalAddress) as { socketPath: string; token: string }
    this.socket = connect(socketPath)
    this.socket.on('error', () => undefined)
    this.#write({ type: 'hello', token })
  }

  renew(deadlineMs: number, nowMs = monotonicMs(), wallMs = Date.now()): void {
    this.#write({ type: 'renew', renewal: { deadlineMs, nowMs, wallMs } })
  }

  #write(frame: unknown): void {
    this.socket.write(`${JSON.stringify(frame)}\n`)
  }
}

const made: string[] = []

export function makeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'skein-guard-test-'))
  made.push(directory)
  return directory
}

export function shell(name: string, script: string, more: Partial<ProcessSpec> = {}): ProcessSpec {
  return { name, command: '/bin/sh', args: ['-c', script], env: {}, stopGraceMs: 5_000, ...more }
}

/** Main thread and control thread of a node in this process. */
export class Bench implements AsyncDisposable {
  readonly directory = makeDirectory()
  readonly events: ProcessEvent[] = []
  readonly lost: string[] = []
  readonly notes: string[] = []
  readonly processes: GuardedProcesses
  lifeLock = ''
  renewals: GuardRenewalSender | undefined
  guardPid = 0

  constructor(limits: Partial<GuardLimits> = {}) {
    this.processes = new GuardedProcesses({
      nodeId: 'node-1',
      dataDir: this.directory,
      entry: guardEntry(),
      limits,
      onNote: (event, fields) => this.notes.push(`${event} ${JSON.stringify(fields)}`),
    })
    this.processes.onEvent((event) => this.events.push(event))
    this.processes.onLost((detail) => this.lost.push(detail))
  }

  async open(leaseMs = 600_000): Promise<this> {
    const { lifeLock, renewalAddress } = await this.processes.open()
    this.lifeLock = lifeLock
    this.guardPid = (JSON.parse(renewalAddress) as { pid: number }).pid
    this.renewals?.close()
    this.renewals = new GuardRenewalSender({ address: renewalAddress })
    this.renewals.renew(monotonicMs() + leaseMs)
    await this.renewed()
    return this
  }

  /** The first renewal has come. */
  async renewed(): Promise<void> {
    await eventually('the first renewal counts', () =>
      this.processes
        .run({ ...shell('probe', 'true'), epoch: 0, input: '', timeoutMs: 5_000, outputBytesMax: 0 })
        .then(
          () => true,
          (error: { code?: string }) => {
            if (error.code !== 'unavailable') throw error
            return false
          },
        ),
    )
  }

  /** The first event of that type about that agent, from the `from`th event on. */
  event<Type extends ProcessEvent['type']>(
    type: Type,
    name: string,
    from = 0,
  ): Promise<Extract<ProcessEvent, { type: Type }>> {
    return eventually(
      `${type} of ${name}`,
      () =>
        this.events.slice(from).find((e) => e.type === type && e.name === name) as
          | Extract<ProcessEvent, { type: Type }>
          | undefined,
      () => this.events.slice(-20),
    )
  }

  /** The first line of output that holds this. */
  line(name: string, part: string): Promise<string> {
    return eventually(
      `"${part}" of ${name}`,
      () =>
        this.events.flatMap((e) =>
          e.type === 'output' && e.name === name && e.text.includes(part) ? [e.text] : [],
        )[0],
      () => this.events.slice(-20),
    )
  }

  async startShell(name: string, script: string, more: Partial<ProcessSpec> = {}): Promise<number> {
    const from = this.events.length
    await this.processes.start(shell(name, script, more), 1)
    return (await this.event('started', name, from)).pid
  }

  guardIsDead(): Promise<boolean> {
    return eventually('the life lock is free', () => new SqliteLifeLocks().prove(this.lifeLock) === 'dead')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.guardPid !== 0 && isAlive(this.guardPid)) process.kill(this.guardPid, 'SIGCONT')
    this.renewals?.close()
    await this.processes[Symbol.asyncDispose]()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** A node in a process of its own, with a control thread that renews; see `fixtures/guarded-node.ts`. */
export class NodeProcess implements AsyncDisposable {
  readonly directory = makeDirectory()
  readonly child: ChildProcess
  readonly said: Record<string, unknown>[] = []
  #stderr = ''

  /** `renewer`: who renews in place of the control thread. */
  constructor(renewer: 'control_thread' | 'somebody_else' = 'control_thread') {
    const args = [`${bundles}/guarded-node.mjs`, this.directory, guardEntry().href, renewer]
    this.child = spawn(process.execPath, args)
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.said.push(JSON.parse(line)))
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString()
    })
  }

  say(message: Record<string, unknown>): void {
    this.child.stdin!.write(`${JSON.stringify(message)}\n`)
  }

  heard(type: string, where: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    return eventually(
      `the node says ${type}`,
      () => this.said.find((m) => m.type === type && Object.entries(where).every(([k, v]) => m[k] === v)),
      () => [this.said.slice(-10), this.#stderr],
    )
  }

  async opened(): Promise<{ lifeLock: string; guardPid: number; renewalAddress: string }> {
    const { lifeLock, guardPid, renewalAddress } = await this.heard('opened')
    return {
      lifeLock: String(lifeLock),
      guardPid: Number(guardPid),
      renewalAddress: String(renewalAddress),
    }
  }

  async start(name: string, script: string): Promise<number> {
    this.say({ do: 'start', spec: shell(name, script) })
    return Number((await this.heard('started', { name })).pid)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, 'exit')
      this.child.kill('SIGKILL')
      await exited
    }
    const opened = this.said.find(({ type }) => type === 'opened')
    if (opened !== undefined) {
      if (isAlive(Number(opened.guardPid))) process.kill(Number(opened.guardPid), 'SIGCONT')
      await eventually('the guard is gone', () => !isAlive(Number(opened.guardPid)))
    }
    rmSync(this.directory, { recursive: true, force: true })
  }
}
