/** What a node says of its use of CPU and memory: of limits as a fake kernel tells them, and of this host as it is. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, realpathSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { monotonicMs } from '../../src/runtime/host-clock.js'
import { HostMeter } from '../../src/runtime/host-meter.js'
import { SharedState } from '../../src/runtime/shared-state.js'

/** Rates are taken over half a second at least; the clock is asked, never trusted to be quick. */
function busyFor(atLeastMs: number): void {
  const untilMs = monotonicMs() + atLeastMs
  while (monotonicMs() < untilMs);
}

interface Groups {
  readonly cpu: string
  /** The same as `cpu` where the host has both in one hierarchy. */
  readonly accounting: string
  readonly memory: string
}

/** Control groups of version 1, where this process may make any; else why not. */
function makeGroups(): Groups | string {
  const name = `skein-test-${process.pid}`
  const made: string[] = []
  const make = (hierarchy: string): string => {
    const directory = join(realpathSync(`/sys/fs/cgroup/${hierarchy}`), name)
    if (!made.includes(directory)) mkdirSync(directory)
    made.push(directory)
    return directory
  }
  try {
    return { cpu: make('cpu'), accounting: make('cpuacct'), memory: make('memory') }
  } catch (error) {
    for (const directory of new Set(made)) rmdirSync(directory)
    return String(error)
  }
}
const groups = makeGroups()
afterAll(() => {
  if (typeof groups !== 'string') for (const group of new Set(Object.values(groups))) rmdirSync(group)
})

describe('a host meter', () => {
  it('sees the CPU that this process burns, in the process and on its host', () => {
    const meter = new HostMeter(tmpdir(), new SharedState(4))
    const used = process.cpuUsage()
    const fromMs = monotonicMs()
    busyFor(600)
    const { user, system } = process.cpuUsage(used)
    const burntMs = (user + system) / 1_000
    const elapsedMs = monotonicMs() - fromMs
    const telemetry = meter.read()
    // The same figures by another way, so that a crowded host changes both.
    expect(telemetry.process?.cpuPct).toBeGreaterThan((burntMs / elapsedMs) * 100 * 0.7)
    expect(telemetry.cpuPct).toBeGreaterThan(0)
    expect(telemetry.cpuPct).toBeLessThanOrEqual(100)
    expect(telemetry.memoryPct).toBeGreaterThan(0)
    expect(telemetry.memoryPct).toBeLessThanOrEqual(100)
    expect(telemetry.process?.memoryMib).toBeCloseTo(process.memoryUsage.rss() / 1_048_576, -2)
    expect(telemetry.diskPct).toBeGreaterThan(0)
  })

  it('goes by the tightest limit around it, and by the host where that is fuller', () => {
    const files: Record<string, string> = {
      '/proc/self/cgroup': '0::/slice/unit',
      '/proc/self/mountinfo': '9 1 0:30 / /cg ro - cgroup2 cgroup rw',
      '/proc/meminfo': 'MemTotal: 1000 kB\nMemAvailable: 600 kB\n',
      '/proc/self/status': 'Cpus_allowed_list:\t1\n',
      '/proc/stat': 'cpu0 0 0 0 1\ncpu1 0 0 0 100\n',
      '/cg/slice/memory.max': '1000000',
      '/cg/slice/memory.current': '900000',
      '/cg/slice/memory.stat': 'inactive_file 100000',
      '/cg/slice/unit/memory.max': '500000',
      '/cg/slice/unit/memory.current': '100000',
      '/cg/slice/unit/cpu.max': '1000000 100000',
      '/cg/slice/unit/cpu.stat': 'usage_usec 0\n',
    }
    const meter = new HostMeter(tmpdir(), new SharedState(4), (path) => files[path])
    busyFor(510)
    // Of CPU 1, which alone we may use, three quarters; of the quota of ten CPUs, nothing.
    files['/proc/stat'] = 'cpu0 0 0 0 100\ncpu1 50 0 25 125\n'
    const first = meter.read()
    expect(first.cpuPct).toBe(75)
    expect(first.memoryPct).toBe(80)

    busyFor(510)
    files['/proc/stat'] = 'cpu0 0 0 0 200\ncpu1 50 0 25 225\n'
    files['/cg/slice/unit/cpu.stat'] = 'usage_usec 60000000'
    files['/proc/meminfo'] = 'MemTotal: 1000 kB\nMemAvailable: 50 kB\n'
    const second = meter.read()
    // A minute of CPU time within a moment: more than was granted, and shown as all of it.
    expect(second.cpuPct).toBe(100)
    expect(second.memoryPct).toBeCloseTo(95, 5)
  })

  it('measures where there is no /proc', () => {
    const meter = new HostMeter(tmpdir(), new SharedState(4), () => undefined)
    busyFor(600)
    const { cpuPct, memoryPct } = meter.read()
    expect(cpuPct).toBeGreaterThan(0)
    expect(cpuPct).toBeLessThanOrEqual(100)
    expect(memoryPct).toBeGreaterThan(0)
    expect(memoryPct).toBeLessThanOrEqual(100)
  })

  it.skipIf(typeof groups === 'string').each(['accounted for', 'not accounted for'])(
    `sees the limits of a real control group whose CPU time is %s${typeof groups === 'string' ? `; none can be made here: ${groups}` : ''}`,
    async (how) => {
      const { cpu, accounting, memory } = groups as Groups
      const quotaCpus = 0.2
      writeFileSync(join(cpu, 'cpu.cfs_quota_us'), String(quotaCpus * 100_000))
      writeFileSync(join(memory, 'memory.limit_in_bytes'), String(512 * 1_048_576))
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', join(import.meta.dirname, 'fixtures/measure.ts')],
        {
          stdio: ['pipe', 'pipe', 'inherit'],
        },
      )
      const exited = once(child, 'exit')
      for (const group of [cpu, memory, ...(how === 'accounted for' ? [accounting] : [])])
        writeFileSync(join(group, 'cgroup.procs'), String(child.pid))
      let out = ''
      child.stdout.on('data', (chunk) => {
        out += chunk
      })
      child.stdin.end('measure\n')
      expect((await exited)[0]).toBe(0)
      const { cpuPct, memoryPct, process: own } = JSON.parse(out)
      // It is alone in its group: what it burnt, on however crowded a host, is what the group used of its quota.
      const ownOfQuotaPct = Math.min(100, own.cpuPct / quotaCpus)
      expect(own.cpuPct).toBeGreaterThan(0)
      expect(cpuPct / ownOfQuotaPct).toBeCloseTo(1, 0.7)
      expect(memoryPct).toBeGreaterThan(200 / 5.12)
      expect(own.memoryMib).toBeGreaterThan(200)
    },
    60_000,
  )

  it('refuses to pass over a disk that is not there', () => {
    expect(() => new HostMeter('/no/such/place', new SharedState(4))).toThrow(/ENOENT/)
  })
})
