/**
 * What control groups grant this process: CPU quotas and memory limits, of its own group and of every group above it, for a limit that a
 * parent sets is shared by all its children. Versions 1 and 2, and hosts with both. Only what a group limits is measured here; the host's own
 * figures are in `proc-files.ts`. Parsing is apart from reading, and reading is a function that is handed in.
 *
 * Sources: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/*.rst, cgroups(7).
 */
import { posix } from 'node:path'

/** The text of a file; undefined where there is none to be read: then the kernel sets no limit there, or does not tell us. */
export type ReadText = (path: string) => string | undefined

export interface CgroupMount {
  /** The path inside the hierarchy that is mounted. */
  readonly root: string
  readonly mountPoint: string
  /** null for version 2. */
  readonly controllers: readonly string[] | null
}

/** A control group that we are in, directly or because it is around ours. */
export interface Group {
  readonly directory: string
  readonly version: 1 | 2
  /** Where its CPU time is counted; with version 1 often another hierarchy, in which we may not be in the group of that name. */
  readonly accounting: string | undefined
}

export interface CpuLimit {
  readonly group: Group
  /** CPUs' worth of time. */
  readonly cpus: number
}

export interface MemoryLimit {
  readonly group: Group
  readonly bytes: number
}

/** How deep groups may be nested; the kernel's own hierarchies of services and containers have fewer than ten. */
const levelsMax = 32

/** `/proc/self/cgroup`: the group's path for each controller of version 1; under '' that of version 2. */
export function parseMembership(text: string): ReadonlyMap<string, string> {
  const paths = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [id, controllers, ...path] = line.split(':')
    if (controllers === undefined || path.length === 0) continue
    if (id === '0' && controllers === '') paths.set('', path.join(':'))
    else for (const controller of controllers.split(',')) paths.set(controller, path.join(':'))
  }
  return paths
}

/** `/proc/self/mountinfo`, of which only control groups. */
export function parseMounts(text: string): CgroupMount[] {
  const mounts: CgroupMount[] = []
  for (const line of text.split('\n')) {
    // 36 35 98:0 /root /mount/point rw,noatime shared:1 - type source options
    const [before, after] = line.split(' - ')
    if (before === undefined || after === undefined) continue
    const [type, , options = ''] = after.split(' ')
    const [, , , root, mountPoint] = before.split(' ').map(unescapeOctal)
    if (root === undefined || mountPoint === undefined) continue
    if (type === 'cgroup2') mounts.push({ root, mountPoint, controllers: null })
    else if (type === 'cgroup') mounts.push({ root, mountPoint, controllers: options.split(',') })
  }
  return mounts
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}

/** The directory of the group at that path; undefined where this mount does not show it. */
export function directoryOf({ root, mountPoint }: CgroupMount, path: string): string | undefined {
  const below = root === '/' ? path.slice(1) : path === root ? '' : cutPrefix(path, `${root}/`)
  // `/../…`: outside of what our namespace shows.
  return below === undefined || below.startsWith('..') ? undefined : posix.join(mountPoint, below)
}

function cutPrefix(text: string, prefix: string): string | undefined {
  return text.startsWith(prefix) ? text.slice(prefix.length) : undefined
}

/** That directory and those above it up to the mount point, the innermost first. */
export function withParents(directory: string, mountPoint: string): string[] {
  const directories = [directory]
  for (
    let at = directory;
    at !== mountPoint && at.length > mountPoint.length && directories.length < levelsMax;
  ) {
    at = posix.dirname(at)
    directories.push(at)
  }
  return directories
}

/** The groups around us that a controller manages, the innermost first. */
export function groupsOf(
  mounts: readonly CgroupMount[],
  paths: ReadonlyMap<string, string>,
  controller: string,
): Group[] {
  const v1 = find(mounts, paths.get(controller), (m) => m.controllers?.includes(controller) === true)
  const accounts = find(mounts, paths.get('cpuacct'), (m) => m.controllers?.includes('cpuacct') === true)
  const v2 = find(mounts, paths.get(''), (m) => m.controllers === null)
  const groups: Group[] = []
  for (const [place, version] of [[v2, 2] as const, [v1, 1] as const]) {
    if (place === undefined) continue
    for (const directory of withParents(place.directory, place.mountPoint)) {
      const below = directory.slice(place.mountPoint.length)
      const isApart = version === 1 && accounts !== undefined
      const accounting = isApart ? posix.join(accounts.mountPoint, below) : directory
      const isOurs = !isApart || withParents(accounts.directory, accounts.mountPoint).includes(accounting)
      groups.push({ directory, version, accounting: isOurs ? accounting : undefined })
    }
  }
  return groups
}

function find(
  mounts: readonly CgroupMount[],
  path: string | undefined,
  isWanted: (mount: CgroupMount) => boolean,
): { readonly directory: string; readonly mountPoint: string } | undefined {
  if (path === undefined) return undefined
  const wanted = mounts.filter(isWanted)
  for (const mount of wanted) {
    const directory = directoryOf(mount, path)
    if (directory !== undefined) return { directory, mountPoint: mount.mountPoint }
  }
  // Inside a container without a namespace of its own the path may be the host's, and the mount our group.
  const only = wanted[0]
  return only === undefined ? undefined : { directory: only.mountPoint, mountPoint: only.mountPoint }
}

/** `cpu.max`, "200000 100000", or of version 1 quota and period; undefined without a limit. */
export function parseCpuQuota(quota: string | undefined, period: string | undefined): number | undefined {
  const granted = parseWhole(quota)
  const per = parseWhole(period)
  return granted === undefined || per === undefined || granted <= 0 || per <= 0 ? undefined : granted / per
}

/** `max`, or a number of bytes; version 1 has a huge number for none. */
export function parseBytesLimit(text: string | undefined): number | undefined {
  const bytes = parseWhole(text)
  return bytes === undefined || bytes < 0 || bytes >= 2 ** 60 ? undefined : bytes
}

/** A line `name value` of `cpu.stat` or `memory.stat`. */
export function parseStat(text: string | undefined, name: string): number | undefined {
  const line = text?.split('\n').find((l) => l.startsWith(`${name} `))
  return parseWhole(line?.slice(name.length + 1))
}

function parseWhole(text: string | undefined): number | undefined {
  const trimmed = text?.trim()
  if (trimmed === undefined || !/^-?\d+$/.test(trimmed)) return undefined
  return Number(trimmed)
}

export class Cgroups {
  private readonly read: ReadText
  private cpuGroups: readonly Group[] = []
  private memoryGroups: readonly Group[] = []

  constructor(read: ReadText) {
    this.read = read
    this.locate()
  }

  /** Where we are may change while we run: a service manager moves processes between groups. */
  locate(): void {
    const paths = parseMembership(this.read('/proc/self/cgroup') ?? '')
    const mounts = parseMounts(this.read('/proc/self/mountinfo') ?? '')
    this.cpuGroups = groupsOf(mounts, paths, 'cpu')
    this.memoryGroups = groupsOf(mounts, paths, 'memory')
  }

  cpuLimits(): CpuLimit[] {
    return this.cpuGroups.flatMap((group) => {
      const { directory } = group
      const [quota, period] =
        group.version === 2
          ? (this.read(`${directory}/cpu.max`)?.trim().split(' ') ?? [])
          : [this.read(`${directory}/cpu.cfs_quota_us`), this.read(`${directory}/cpu.cfs_period_us`)]
      const cpus = parseCpuQuota(quota, period)
      return cpus === undefined ? [] : [{ group, cpus }]
    })
  }

  memoryLimits(): MemoryLimit[] {
    return this.memoryGroups.flatMap((group) => {
      const file = group.version === 2 ? 'memory.max' : 'memory.limit_in_bytes'
      const bytes = parseBytesLimit(this.read(`${group.directory}/${file}`))
      return bytes === undefined ? [] : [{ group, bytes }]
    })
  }

  /** CPU time that a group used so far, ms; undefined where nobody counts it. */
  cpuUsedMs({ directory, version, accounting }: Group): number | undefined {
    if (version === 2) {
      const us = parseStat(this.read(`${directory}/cpu.stat`), 'usage_usec')
      return us === undefined ? undefined : us / 1_000
    }
    const ns = accounting === undefined ? undefined : parseWhole(this.read(`${accounting}/cpuacct.usage`))
    return ns === undefined ? undefined : ns / 1e6
  }

  /** What counts against its limit, without the file pages that the kernel would drop first (as the kubelet counts). */
  memoryUsedBytes({ directory, version }: Group): number | undefined {
    const isV2 = version === 2
    const used = parseWhole(this.read(`${directory}/${isV2 ? 'memory.current' : 'memory.usage_in_bytes'}`))
    if (used === undefined) return undefined
    // In version 1 the plain name is of the group without its children.
    const stat = this.read(`${directory}/memory.stat`)
    const inactive = parseStat(stat, isV2 ? 'inactive_file' : 'total_inactive_file') ?? 0
    return Math.max(0, used - inactive)
  }
}
