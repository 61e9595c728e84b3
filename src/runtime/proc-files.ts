/** The host's own figures out of the texts of `/proc` (proc(5)). Pure parsing: undefined where the text does not say. */

/** Time since boot, in the kernel's ticks. */
export interface CpuTimes {
  readonly busy: number
  readonly all: number
}

/** `/proc/stat`: over the CPUs that we may run on. Waiting for a disk is idle; time that the hypervisor gave to others is not ours to use. */
export function parseCpuTimes(
  stat: string | undefined,
  isAllowed: (cpu: number) => boolean,
): CpuTimes | undefined {
  let busy = 0
  let all = 0
  for (const line of stat?.split('\n') ?? []) {
    const found = /^cpu(\d+) (.*)/.exec(line)
    if (found === null || !isAllowed(Number(found[1]))) continue
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = (
      found[2] as string
    )
      .trim()
      .split(/\s+/)
      .map(Number)
    // Guests' time is part of user and nice.
    const used = user + nice + system + irq + softirq + steal
    busy += used
    all += used + idle + iowait
  }
  return all > 0 ? { busy, all } : undefined
}

/** `Cpus_allowed_list` of `/proc/self/status`: what cpusets and affinity leave us, "0-3,7". */
export function parseAllowedCpus(status: string | undefined): ReadonlySet<number> | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(status ?? '')?.[1]
  return list === undefined ? undefined : parseCpuList(list)
}

const cpusMax = 8_192

/** Undefined for what is no such list. */
export function parseCpuList(list: string): ReadonlySet<number> | undefined {
  const cpus = new Set<number>()
  for (const part of list.trim().split(',')) {
    const range = /^(\d+)(?:-(\d+))?$/.exec(part)
    if (range === null) return undefined
    const first = Number(range[1])
    const last = Number(range[2] ?? first)
    if (last >= cpusMax) return undefined
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu)
  }
  return cpus
}

/** `/proc/meminfo`: what cannot be had without swapping, in percent. */
export function parseMemoryPct(meminfo: string | undefined): number | undefined {
  const kib = (name: string): number | undefined => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo ?? '')?.[1]
    return found === undefined ? undefined : Number(found)
  }
  const total = kib('MemTotal')
  const available = kib('MemAvailable')
  if (total === undefined || available === undefined || total === 0) return undefined
  return (1 - available / total) * 100
}
