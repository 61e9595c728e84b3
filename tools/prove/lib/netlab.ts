/**
 * A network of the test's own: namespaces joined by a bridge that lies in one more namespace, so that nothing of it touches the
 * host's network, and faults between them.
 *
 * The idea: all cuts and losses are one nft table on the bridge, rendered whole from what is broken at the moment and replaced
 * atomically. Latency is netem where the kernel has it; where it has not, packets wait in an NFQUEUE (`delay.pl`) in each
 * namespace.
 *
 * Every process started here dies with the test (`setpriv --pdeathsig`) and is ended by its pid. The namespaces of a test that
 * was killed are removed by the next one: their names carry the pid. Must not live here: anything about Skein.
 */
import { type ChildProcess, execFileSync, type StdioOptions, spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const namespaces = '/run/netns'
const prefix = 'skein'
const subnet = '10.213.0'
const switchName = 'switch'
const table = 'faults'
const endMsMax = 2_000
const endSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface Identity {
  readonly uid: number
  readonly gid: number
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly identity?: Identity
  readonly cwd?: string
  readonly stdio?: StdioOptions
  /** This directory is what the process alone finds at that path, as a machine alone sees its own disk. Both exist. */
  readonly disk?: { readonly from: string; readonly at: string }
}

/** Why there can be no lab on this machine; undefined when there can. Tries it, because a kernel may lack what the programs offer. */
export function whyNoNetLab(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux'
  if (process.getuid?.() !== 0) return 'making network namespaces needs root'
  for (const [program, pack] of [
    ['ip', 'iproute2'],
    ['nft', 'nftables'],
    ['nsenter', 'util-linux'],
    ['setpriv', 'util-linux'],
  ] as const) {
    if (spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined)
      return `there is no \`${program}\` (Debian: apt-get install ${pack})`
  }
  try {
    const lab = new NetLab(['probe'])
    try {
      lab.lose(1)
    } finally {
      lab.end()
    }
    return undefined
  } catch (error) {
    return `this kernel or container does not allow it: ${(error as Error).message.trim().split('\n').at(-1)}`
  }
}

/** For `describe.skipIf` and proofs: says aloud that they are left out, and why. */
export function isWithoutNetLab(what: string): boolean {
  const why = whyNoNetLab()
  if (why !== undefined) console.warn(`SKIPPED: ${what}: ${why}`)
  return why !== undefined
}

/** A process in one of the namespaces. */
export class LabProcess {
  readonly child: ChildProcess

  constructor(child: ChildProcess) {
    this.child = child
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get isRunning(): boolean {
    return this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.child.kill(signal)
  }

  /** Resolves when the kernel is done with it. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!this.isRunning) return
    const gone = new Promise<void>((done) => this.child.once('exit', () => done()))
    this.child.kill(signal)
    this.child.kill('SIGCONT')
    await gone
  }
}

export class NetLab {
  readonly names: readonly string[]
  readonly #id: string
  readonly #processes = new Set<LabProcess>()
  readonly #cuts = new Set<string>()
  #lossPercent = 0
  #delayers: LabProcess[] = []
  #hasEnded = false
  readonly #onExit = () => this.end()
  /** A signal alone ends a process without its `exit`. */
  readonly #onSignal = () => process.exit(1)

  /** Each name becomes a namespace with an address: `address(name)`. Throws what the system says when it does not allow it. */
  constructor(names: readonly string[]) {
    this.names = names
    removeOrphans()
    this.#id = `${prefix}${process.pid}x${nextLab++}`
    process.once('exit', this.#onExit)
    for (const signal of endSignals) process.once(signal, this.#onSignal)
    try {
      this.#make()
    } catch (error) {
      this.end()
      throw error
    }
  }

  address(name: string): string {
    const at = this.names.indexOf(name)
    if (at < 0) throw new Error(`no "${name}" in this lab of ${this.names.join(', ')}`)
    return `${subnet}.${at + 1}`
  }

  spawn(name: string, program: string, args: readonly string[], options: SpawnOptions = {}): LabProcess {
    this.address(name)
    const { identity } = options
    const as = identity ? [`--reuid=${identity.uid}`, `--regid=${identity.gid}`, '--clear-groups'] : []
    const mount = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    const withDisk = options.disk
      ? ['unshare', '--mount', 'sh', '-c', mount, 'sh', options.disk.from, options.disk.at]
      : []
    const child = spawn(
      'nsenter',
      [
        `--net=${join(namespaces, this.#namespace(name))}`,
        ...withDisk,
        'setpriv',
        ...as,
        '--pdeathsig=KILL',
        program,
        ...args,
      ],
      {
        stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...options.env },
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      },
    )
    const started = new LabProcess(child)
    this.#processes.add(started)
    child.once('exit', () => this.#processes.delete(started))
    return started
  }

  /** Nothing passes between the two groups, in silence: no reset, no ICMP. */
  cut(some: readonly string[], others: readonly string[]): void {
    this.#mark(some, others)
    this.#mark(others, some)
    this.#render()
  }

  /** What `from` sends to `to` is lost; what they send back arrives. */
  cutOneWay(from: readonly string[], to: readonly string[]): void {
    this.#mark(from, to)
    this.#render()
  }

  /** Of all packets, so many per cent are lost, at random. */
  lose(percent: number): void {
    this.#lossPercent = percent
    this.#render()
  }

  /** Every packet arrives so much later, give or take the jitter, in order. Returns what does it. */
  async delay(ms: number, jitterMs: number): Promise<'netem' | 'nfqueue'> {
    for (const name of this.names) {
      const netem = [`${ms}ms`, `${jitterMs}ms`]
      const done = spawnSync(
        'tc',
        ['-n', this.#namespace(name), 'qdisc', 'replace', 'dev', 'eth0', 'root', 'netem', 'delay', ...netem],
        { stdio: 'ignore' },
      )
      if (done.status !== 0) return await this.#delayInQueue(ms, jitterMs)
    }
    return 'netem'
  }

  /** The cable is out: the port of the bridge is down. */
  linkDown(name: string): void {
    ip(['-n', this.#namespace(switchName), 'link', 'set', this.#port(name), 'down'])
  }

  linkUp(name: string): void {
    ip(['-n', this.#namespace(switchName), 'link', 'set', this.#port(name), 'up'])
  }

  /** All faults of the network end. */
  heal(): void {
    this.#cuts.clear()
    this.#lossPercent = 0
    this.#render()
    for (const name of this.names) {
      this.linkUp(name)
      const qdisc = ['-n', this.#namespace(name), 'qdisc', 'del', 'dev', 'eth0', 'root']
      spawnSync('tc', qdisc, { stdio: 'ignore' })
      if (this.#delayers.length > 0)
        this.#inNamespace(name, ['iptables', '-t', 'mangle', '-F', 'POSTROUTING'])
    }
    // A queue without a reader lets packets pass (--queue-bypass); those it still holds are sent again by TCP.
    for (const each of this.#delayers) each.signal('SIGKILL')
    this.#delayers = []
  }

  /** Ends the processes and removes the namespaces. May be called twice. */
  end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    process.off('exit', this.#onExit)
    for (const signal of endSignals) process.off(signal, this.#onSignal)
    for (const each of this.#processes) {
      each.signal('SIGCONT')
      each.signal('SIGKILL')
    }
    waitForEnd([...this.#processes].map(({ pid }) => pid))
    for (const name of [...this.names, switchName])
      if (existsSync(join(namespaces, this.#namespace(name)))) ip(['netns', 'del', this.#namespace(name)])
  }

  #make(): void {
    const bridge = this.#namespace(switchName)
    ip(['netns', 'add', bridge])
    ip(['-n', bridge, 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0'])
    ip(['-n', bridge, 'link', 'set', 'br0', 'up'])
    for (const name of this.names) {
      const inside = this.#namespace(name)
      const port = this.#port(name)
      ip(['netns', 'add', inside])
      ip(['-n', inside, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port, 'netns', bridge])
      ip(['-n', bridge, 'link', 'set', port, 'master', 'br0', 'up'])
      ip(['-n', inside, 'addr', 'add', `${this.address(name)}/24`, 'dev', 'eth0'])
      ip(['-n', inside, 'link', 'set', 'eth0', 'up'])
      ip(['-n', inside, 'link', 'set', 'lo', 'up'])
    }
    this.#render()
  }

  #namespace(name: string): string {
    return `${this.#id}-${name}`
  }

  #port(name: string): string {
    return `port${this.names.indexOf(name) + 1}`
  }

  #mark(from: readonly string[], to: readonly string[]): void {
    for (const a of from)
      for (const b of to)
        if (a !== b) this.#cuts.add(`ip saddr ${this.address(a)} ip daddr ${this.address(b)} drop`)
  }

  #render(): void {
    const percent = this.#lossPercent
    const loss = percent === 0 ? [] : [percent < 100 ? `numgen random mod 100 < ${percent} drop` : 'drop']
    const rules = [...this.#cuts, ...loss].join('\n')
    // Naming the table first makes its deletion valid also the first time.
    const text = `table bridge ${table}\ndelete table bridge ${table}\ntable bridge ${table} {\nchain forward {\ntype filter hook forward priority 0\n${rules}\n}\n}\n`
    this.#inNamespace(switchName, ['nft', '-f', '-'], text)
  }

  #inNamespace(name: string, command: readonly string[], input = ''): void {
    execFileSync('nsenter', [`--net=${join(namespaces, this.#namespace(name))}`, ...command], {
      input,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  }

  async #delayInQueue(ms: number, jitterMs: number): Promise<'nfqueue'> {
    const script = join(import.meta.dirname, 'delay.pl')
    for (const name of this.names) {
      const delayer = this.spawn(name, 'perl', [script, String(ms), String(jitterMs)])
      await new Promise<void>((ready, failed) => {
        delayer.child.stdout?.once('data', () => ready())
        delayer.child.once('exit', (code) => failed(new Error(`delay.pl ended with ${code}`)))
      })
      this.#delayers.push(delayer)
      const queue = ['-j', 'NFQUEUE', '--queue-num', '7', '--queue-bypass']
      this.#inNamespace(name, ['iptables', '-t', 'mangle', '-A', 'POSTROUTING', '-o', 'eth0', ...queue])
    }
    return 'nfqueue'
  }
}

let nextLab = 1

function ip(args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Blocks: this is done at exit. Until then they may write to directories that are about to be removed. */
function waitForEnd(pids: readonly number[]): void {
  const untilMs = performance.now() + endMsMax
  const pause = new Int32Array(new SharedArrayBuffer(4))
  while (pids.some(isAlive) && performance.now() < untilMs) Atomics.wait(pause, 0, 0, 10)
}

function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}

/** Of tests that were killed: their processes died with them, their namespaces did not. */
function removeOrphans(): void {
  if (!existsSync(namespaces)) return
  for (const name of readdirSync(namespaces)) {
    const owner = new RegExp(`^${prefix}(\\d+)x\\d+-`).exec(name)?.[1]
    // Another test may be removing the same one.
    if (owner !== undefined && !existsSync(`/proc/${owner}`))
      spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
  }
}
