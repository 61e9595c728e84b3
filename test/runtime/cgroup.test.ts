/** Control groups and `/proc` as read from texts that were recorded on real hosts, shortened. */
import { describe, expect, it } from 'vitest'
import {
  Cgroups,
  directoryOf,
  parseBytesLimit,
  parseCpuQuota,
  parseMembership,
  parseMounts,
  withParents,
} from '../../src/runtime/cgroup.js'
import {
  parseAllowedCpus,
  parseCpuList,
  parseCpuTimes,
  parseMemoryPct,
} from '../../src/runtime/proc-files.js'

const none = '9223372036854771712\n'
const reader = (files: Record<string, string>) => (path: string) => files[path]

/** systemd, cgroup v2: a service in a slice that has limits of its own. */
const v2Files: Record<string, string> = {
  '/proc/self/cgroup': '0::/apps.slice/skein.service\n',
  '/proc/self/mountinfo': `24 30 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n`,
  '/sys/fs/cgroup/apps.slice/cpu.max': '150000 100000\n',
  '/sys/fs/cgroup/apps.slice/cpu.stat': 'usage_usec 90000000\nuser_usec 60000000\nsystem_usec 30000000\n',
  '/sys/fs/cgroup/apps.slice/memory.max': '1073741824\n',
  '/sys/fs/cgroup/apps.slice/memory.current': '966367641\n',
  '/sys/fs/cgroup/apps.slice/memory.stat': 'anon 700000000\nfile 200000000\ninactive_file 107374182\n',
  '/sys/fs/cgroup/apps.slice/skein.service/cpu.max': 'max 100000\n',
  '/sys/fs/cgroup/apps.slice/skein.service/cpu.stat': 'usage_usec 1000000\n',
  '/sys/fs/cgroup/apps.slice/skein.service/memory.max': 'max\n',
  '/sys/fs/cgroup/apps.slice/skein.service/memory.current': '104857600\n',
}

/** Docker on cgroup v1: the group's own paths are the host's, the mounts show our group as their root. */
const dockerV1Files: Record<string, string> = {
  '/proc/self/cgroup':
    '12:memory:/docker/4f5e\n8:cpu,cpuacct:/docker/4f5e\n3:cpuset:/docker/4f5e\n1:name=systemd:/docker/4f5e\n',
  '/proc/self/mountinfo': `700 690 0:29 /docker/4f5e /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:12 - cgroup cgroup rw,cpu,cpuacct
701 690 0:33 /docker/4f5e /sys/fs/cgroup/memory ro,nosuid master:16 - cgroup cgroup rw,memory\n`,
  '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '50000\n',
  '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
  '/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage': '27609953140010\n',
  '/sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912\n',
  '/sys/fs/cgroup/memory/memory.usage_in_bytes': '300000000\n',
  '/sys/fs/cgroup/memory/memory.stat':
    'cache 1\ninactive_file 5\ntotal_cache 9\ntotal_inactive_file 100000000\n',
}

/** Both versions on one host, accounting and quotas in hierarchies of their own, memory of a nested group limited by its parent. */
const hybridFiles: Record<string, string> = {
  '/proc/self/cgroup': '4:memory:/api/e306\n3:cpuset:/\n2:cpuacct:/api\n1:cpu:/api\n0::/\n',
  '/proc/self/mountinfo': `32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n`,
  '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
  '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
  '/sys/fs/cgroup/cpu/api/cpu.cfs_quota_us': '200000\n',
  '/sys/fs/cgroup/cpu/api/cpu.cfs_period_us': '100000\n',
  '/sys/fs/cgroup/cpuacct/api/cpuacct.usage': '4000000000\n',
  '/sys/fs/cgroup/memory/memory.limit_in_bytes': none,
  '/sys/fs/cgroup/memory/api/memory.limit_in_bytes': '1000000000\n',
  '/sys/fs/cgroup/memory/api/memory.usage_in_bytes': '750000000\n',
  '/sys/fs/cgroup/memory/api/memory.stat': 'total_inactive_file 50000000\n',
  '/sys/fs/cgroup/memory/api/e306/memory.limit_in_bytes': none,
}

describe('control groups', () => {
  it('of version 2: the limit of a slice binds the service in it, and what all its services use counts', () => {
    const groups = new Cgroups(reader(v2Files))
    const [cpu, ...rest] = groups.cpuLimits()
    expect(rest).toEqual([])
    expect(cpu).toMatchObject({ cpus: 1.5, group: { directory: '/sys/fs/cgroup/apps.slice', version: 2 } })
    expect(cpu && groups.cpuUsedMs(cpu.group)).toBe(90_000)
    const [memory] = groups.memoryLimits()
    expect(memory).toMatchObject({ bytes: 1_073_741_824 })
    expect(memory && groups.memoryUsedBytes(memory.group)).toBe(966_367_641 - 107_374_182)
  })

  it('of version 1 in a container: the mounts are our group', () => {
    const groups = new Cgroups(reader(dockerV1Files))
    const [cpu] = groups.cpuLimits()
    expect(cpu).toMatchObject({ cpus: 0.5, group: { directory: '/sys/fs/cgroup/cpu,cpuacct', version: 1 } })
    expect(cpu && groups.cpuUsedMs(cpu.group)).toBeCloseTo(27_609_953.14, 2)
    const [memory] = groups.memoryLimits()
    expect(memory && groups.memoryUsedBytes(memory.group)).toBe(200_000_000)
  })

  it('of both versions on one host, with the accounting apart and only a parent limited', () => {
    const groups = new Cgroups(reader(hybridFiles))
    expect(groups.cpuLimits().map((l) => [l.group.directory, l.cpus])).toEqual([
      ['/sys/fs/cgroup/cpu/api', 2],
    ])
    expect(groups.cpuLimits().map((l) => groups.cpuUsedMs(l.group))).toEqual([4_000])
    expect(groups.memoryLimits().map((l) => [l.group.directory, groups.memoryUsedBytes(l.group)])).toEqual([
      ['/sys/fs/cgroup/memory/api', 700_000_000],
    ])
  })

  it('does not take the accounts of a group of that name, in which we are not, for ours', () => {
    const elsewhere = hybridFiles['/proc/self/cgroup']?.replace('cpuacct:/api', 'cpuacct:/other') as string
    const groups = new Cgroups(reader({ ...hybridFiles, '/proc/self/cgroup': elsewhere }))
    expect(groups.cpuLimits().map((l) => [l.cpus, groups.cpuUsedMs(l.group)])).toEqual([[2, undefined]])
  })

  it('in a namespace of its own the root shows the limits of the container', () => {
    const groups = new Cgroups(
      reader({
        '/proc/self/cgroup': '0::/\n',
        '/proc/self/mountinfo': '9 1 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n',
        '/sys/fs/cgroup/cpu.max': '300000 100000',
        '/sys/fs/cgroup/memory.max': '2147483648',
      }),
    )
    expect(groups.cpuLimits().map((l) => l.cpus)).toEqual([3])
    expect(groups.memoryLimits().map((l) => l.bytes)).toEqual([2_147_483_648])
    // The files that say how much is used are not there.
    expect(groups.cpuLimits().map((l) => groups.cpuUsedMs(l.group))).toEqual([undefined])
    expect(groups.memoryLimits().map((l) => groups.memoryUsedBytes(l.group))).toEqual([undefined])
  })

  it('where there are none, nothing is limited', () => {
    const groups = new Cgroups(() => undefined)
    expect([...groups.cpuLimits(), ...groups.memoryLimits()]).toEqual([])
  })

  it('finds directories below what is mounted, and none outside of it', () => {
    const mount = { root: '/docker/x', mountPoint: '/cg', controllers: null }
    expect(directoryOf(mount, '/docker/x')).toBe('/cg')
    expect(directoryOf(mount, '/docker/x/inner')).toBe('/cg/inner')
    expect(directoryOf(mount, '/docker/xy')).toBeUndefined()
    expect(directoryOf({ ...mount, root: '/' }, '/../other')).toBeUndefined()
    expect(withParents('/cg/a/b', '/cg')).toEqual(['/cg/a/b', '/cg/a', '/cg'])
    expect(withParents(`/cg${'/d'.repeat(100)}`, '/cg')).toHaveLength(32)
  })

  it('reads limits as they are written, and no limit as none', () => {
    expect(parseCpuQuota('max', '100000')).toBeUndefined()
    expect(parseCpuQuota('-1\n', '100000\n')).toBeUndefined()
    expect(parseCpuQuota('25000', '100000')).toBe(0.25)
    expect(parseCpuQuota('25000', undefined)).toBeUndefined()
    expect(parseBytesLimit('max\n')).toBeUndefined()
    expect(parseBytesLimit(none)).toBeUndefined()
    expect(parseBytesLimit('0')).toBe(0)
    expect(parseBytesLimit('12 MiB')).toBeUndefined()
  })

  it('reads where we are, paths with colons and spaces included', () => {
    const paths = parseMembership('5:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\nnonsense\n')
    expect(Object.fromEntries(paths)).toEqual({
      cpu: '/a:b',
      cpuacct: '/a:b',
      'name=systemd': '/s',
      '': '/u',
    })
    expect(parseMounts('1 2 0:3 / /my\\040groups rw - cgroup2 none rw\nnonsense\n')).toEqual([
      { root: '/', mountPoint: '/my groups', controllers: null },
    ])
  })
})

describe('the figures of a host', () => {
  const stat = `cpu  300 0 100 500 100 0 0 0 50 0
cpu0 100 0 50 300 50 0 0 0 50 0
cpu1 200 0 50 200 50 10 10 30 0 0
intr 12345\n`

  it('counts the CPUs that we may run on; waiting for a disk is idle, stolen time is not', () => {
    expect(parseCpuTimes(stat, () => true)).toEqual({ busy: 450, all: 1_050 })
    expect(parseCpuTimes(stat, (cpu) => cpu === 1)).toEqual({ busy: 300, all: 550 })
    expect(parseCpuTimes(stat, () => false)).toBeUndefined()
    expect(parseCpuTimes(undefined, () => true)).toBeUndefined()
  })

  it('reads lists of CPUs', () => {
    const cpus = (list: string) => [...(parseCpuList(list) ?? ['none'])]
    expect(cpus('0-2,7\n')).toEqual([0, 1, 2, 7])
    expect(cpus('5')).toEqual([5])
    for (const list of ['', 'all', '0-99999999', '1-']) expect(cpus(list)).toEqual(['none'])
    expect([
      ...(parseAllowedCpus('Threads:\t1\nCpus_allowed:\tf\nCpus_allowed_list:\t0-1,3\n') ?? []),
    ]).toEqual([0, 1, 3])
    expect(parseAllowedCpus('Threads:\t1\n')).toBeUndefined()
  })

  it('counts memory that can be had back as free', () => {
    const meminfo = 'MemTotal:       24684084 kB\nMemFree:        1000 kB\nMemAvailable:   18513063 kB\n'
    expect(parseMemoryPct(meminfo)).toBeCloseTo(25, 5)
    expect(parseMemoryPct('MemTotal: 0 kB\nMemAvailable: 0 kB\n')).toBeUndefined()
    expect(parseMemoryPct(undefined)).toBeUndefined()
  })
})
