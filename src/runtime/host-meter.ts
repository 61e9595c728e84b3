/**
 * Measures this process and what it runs on: CPU, memory, disk, load, events. Cheap enough for once a second, a few small files of `/proc`; limits and the disk are
 * looked at every ten.
 *
 * What is "in use" is the tightest of all that bind us: the host (of its CPUs, those we may run on), and each control group around us that has a limit.
 * A node in a container of 1 CPU is full when that CPU is, however idle the host; and on a full host it is full as well.
 */
import { readFileSync, statfsSync } from 'node:fs'
import { cpus, freemem, loadavg, totalmem } from 'node:os'
import type { Figures } from '../core/membership/member.js'
import { Cgroups, type CpuLimit, type MemoryLimit, type ReadText } from './cgroup.js'
import { monotonicMs } from './host-clock.js'
import { type CpuTimes, parseAllowedCpus, parseCpuTimes, parseMemoryPct } from './proc-files.js'
import type { SharedState } from './shared-state.js'

const slowlyEveryMs = 10_000
const windowMsMin = 500

export class HostMeter {
  private readonly diskPath: string
  private readonly shared: SharedState
  private readonly readText: ReadText
  private readonly cgroups: Cgroups
  private cpuLimits: readonly CpuLimit[] = []
  private memoryLimits: readonly MemoryLimit[] = []
  private allowed: ReadonlySet<number> | undefined
  private diskPct = 0
  private slowlyAtMs = Number.NEGATIVE_INFINITY
  /** The counters at the start of the window over which rates are taken. */
  private readAtMs = monotonicMs()
  private process = process.cpuUsage()
  private host: CpuTimes | undefined
  private groups = new Map<string, number>()
  private acknowledged = 0
  private last: Figures | undefined

  constructor(diskPath: string, shared: SharedState, readText: ReadText = readTextFile) {
    this.diskPath = diskPath
    this.shared = shared
    this.readText = readText
    this.cgroups = new Cgroups(readText)
    this.lookSlowly(this.readAtMs)
    this.host = this.hostTimes()
    this.groups = this.groupTimes()
  }

  /** Rates are since the last call that was at least half a second ago. */
  read(): Figures {
    const nowMs = monotonicMs()
    const elapsedMs = nowMs - this.readAtMs
    if (this.last !== undefined && elapsedMs < windowMsMin)
      return { ...this.last, shardsOwned: this.shardsOwned() }
    if (nowMs - this.slowlyAtMs >= slowlyEveryMs) this.lookSlowly(nowMs)
    const used = process.cpuUsage(this.process)
    const acknowledged = this.shared.acknowledged
    const events = (acknowledged - this.acknowledged) >>> 0
    const usedMs = (used.user + used.system) / 1_000
    const cpuPct = this.cpuPct(elapsedMs, usedMs)
    this.process = process.cpuUsage()
    this.readAtMs = nowMs
    this.acknowledged = acknowledged
    this.last = {
      cpuPct,
      memoryPct: this.memoryPct(),
      diskPct: this.diskPct,
      loadCenti: (loadavg()[0] as number) * 100,
      eventsPerSecond: elapsedMs <= 0 ? 0 : (events * 1_000) / elapsedMs,
      shardsOwned: this.shardsOwned(),
      loopDelayMs: this.shared.loopDelayMs,
      unconfirmedEvents: this.shared.unconfirmedEvents,
      process: {
        cpuPct: elapsedMs <= 0 ? 0 : (usedMs / elapsedMs) * 100,
        memoryMib: process.memoryUsage.rss() / 1_048_576,
      },
    }
    return this.last
  }

  private cpuPct(elapsedMs: number, usedMs: number): number {
    const host = this.hostTimes()
    const groups = this.groupTimes()
    let pct = 0
    if (host !== undefined && this.host !== undefined && host.all > this.host.all)
      pct = ((host.busy - this.host.busy) / (host.all - this.host.all)) * 100
    for (const { group, cpus: granted } of this.cpuLimits) {
      if (elapsedMs <= 0) continue
      const before = this.groups.get(group.directory)
      const now = groups.get(group.directory)
      // A group that nobody accounts for (version 1, where accounting is another hierarchy) uses what we do at least.
      const groupMs = before === undefined || now === undefined ? usedMs : now - before
      pct = Math.max(pct, (groupMs / (elapsedMs * granted)) * 100)
    }
    this.host = host
    this.groups = groups
    return Math.max(0, Math.min(100, pct))
  }

  private hostTimes(): CpuTimes | undefined {
    const { allowed } = this
    const fromProc = parseCpuTimes(this.readText('/proc/stat'), (cpu) => allowed?.has(cpu) ?? true)
    if (fromProc !== undefined) return fromProc
    let busy = 0
    let all = 0
    for (const { times } of cpus()) {
      const used = times.user + times.nice + times.sys + times.irq
      busy += used
      all += used + times.idle
    }
    return all > 0 ? { busy, all } : undefined
  }

  private groupTimes(): Map<string, number> {
    const times = new Map<string, number>()
    for (const { group } of this.cpuLimits) {
      const usedMs = this.cgroups.cpuUsedMs(group)
      if (usedMs !== undefined) times.set(group.directory, usedMs)
    }
    return times
  }

  private memoryPct(): number {
    let pct = parseMemoryPct(this.readText('/proc/meminfo')) ?? (1 - freemem() / totalmem()) * 100
    for (const { group, bytes } of this.memoryLimits) {
      const used = this.cgroups.memoryUsedBytes(group)
      if (used !== undefined && bytes > 0) pct = Math.max(pct, (used / bytes) * 100)
    }
    return Math.max(0, Math.min(100, pct))
  }

  private shardsOwned(): number {
    let owned = 0
    for (let shard = 0; shard < this.shared.shards; shard++) if (this.shared.epoch(shard) > 0) owned++
    return owned
  }

  /** What changes by somebody's hand, and the disk. */
  private lookSlowly(nowMs: number): void {
    this.slowlyAtMs = nowMs
    this.cgroups.locate()
    this.cpuLimits = this.cgroups.cpuLimits()
    this.memoryLimits = this.cgroups.memoryLimits()
    const allowed = parseAllowedCpus(this.readText('/proc/self/status'))
    // Counters of other CPUs are no continuation of these.
    if (allowed !== undefined && !isSame(allowed, this.allowed)) {
      this.allowed = allowed
      this.host = this.hostTimes()
    }
    const { blocks, bfree, bavail } = statfsSync(this.diskPath)
    const used = blocks - bfree
    this.diskPct = used + bavail === 0 ? 0 : (used / (used + bavail)) * 100
  }
}

function isSame(a: ReadonlySet<number>, b: ReadonlySet<number> | undefined): boolean {
  return b !== undefined && a.size === b.size && [...a].every((cpu) => b.has(cpu))
}

/** Not there (another system, another version of control groups), or not for us to see: both mean that it is not measured. */
function readTextFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (
      code === 'ENOENT' ||
      code === 'ENOTDIR' ||
      code === 'EACCES' ||
      code === 'EPERM' ||
      code === 'ENODEV' ||
      code === 'EOPNOTSUPP'
    )
      return undefined
    throw error
  }
}
