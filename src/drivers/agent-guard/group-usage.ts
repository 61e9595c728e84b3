/** What the process groups of this host use, and who is left in them: one look at /proc for all who ask at about the same time. */
import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { monotonicMs } from '../../engines/sqlite/clock.js'

export interface GroupUsage {
  /** Zombies not counted. */
  readonly processes: number
  readonly cpuMs: number
  readonly memoryBytes: number
}

/** Linux reports CPU time in ticks of 10 ms to programs, whatever its own clock. */
const tickMs = 10
const readersAtOnce = 16

export class GroupTable {
  #last: { readonly atMs: number; readonly groups: Promise<Map<number, GroupUsage> | undefined> } | undefined

  /** By group id, at most `ageMsMax` old; groups without a living process are not in it. Undefined where there is no /proc. */
  read(ageMsMax: number): Promise<ReadonlyMap<number, GroupUsage> | undefined> {
    const nowMs = monotonicMs()
    if (this.#last === undefined || nowMs - this.#last.atMs > ageMsMax)
      this.#last = { atMs: nowMs, groups: readGroups() }
    return this.#last.groups
  }
}

async function readGroups(): Promise<Map<number, GroupUsage> | undefined> {
  const names = await readdir('/proc').catch(() => [])
  const pids = names.filter((name) => /^\d+$/.test(name))
  if (pids.length === 0) return undefined
  const pageBytes = pageSize()
  const groups = new Map<number, GroupUsage>()
  const look = async (): Promise<void> => {
    for (let pid = pids.pop(); pid !== undefined; pid = pids.pop()) {
      const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined)
      if (text === undefined) continue
      // proc(5), from field 3 on: state, parent, group, …, 14 and 15 times, 24 resident pages. The name before may hold anything.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
      if (fields[0] === 'Z' || fields[0] === 'X') continue
      const group = Number(fields[2])
      const before = groups.get(group) ?? { processes: 0, cpuMs: 0, memoryBytes: 0 }
      groups.set(group, {
        processes: before.processes + 1,
        cpuMs: before.cpuMs + (Number(fields[11]) + Number(fields[12])) * tickMs,
        memoryBytes: before.memoryBytes + Number(fields[21]) * pageBytes,
      })
    }
  }
  await Promise.all(Array.from({ length: readersAtOnce }, look))
  return groups
}

let knownPageSize: number | undefined

/** AT_PAGESZ of the auxiliary vector: pairs of words, getauxval(3). */
function pageSize(): number {
  knownPageSize ??= readPageSize()
  return knownPageSize
}

function readPageSize(): number {
  const pageSizeKey = 6n
  const vector = readFileSync('/proc/self/auxv')
  if (!['x64', 'arm64', 'riscv64', 'loong64'].includes(process.arch)) return 4_096
  for (let at = 0; at + 16 <= vector.length; at += 16)
    if (vector.readBigUInt64LE(at) === pageSizeKey) return Number(vector.readBigUInt64LE(at + 8))
  return 4_096
}
