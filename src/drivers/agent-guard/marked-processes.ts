/**
 * Processes that carry a guard's mark in their environment. A child inherits it, whatever group or session it moves to, unless it changes its environment.
 * So what left its group is found all the same, and what a killed guard left behind: by the node, and at the next start.
 *
 * Only where there is /proc; elsewhere nothing is found. A pid alone is never believed: between the look and the signal its start time is compared.
 */
import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { identityOf, type ProcessIdentity, sameProcess } from '../../engines/sqlite/process-identity.js'

export const markVariable = 'SKEIN_AGENT_GUARD'
const readersAtOnce = 16
const pauseMs = 5
/** At a list of processes that changes while it is looked at. */
const looksMax = 3
const execTriesMax = 50

export interface MarkedProcess {
  /** As we see it; its identity has the pid that it sees itself, in a container say. */
  readonly pid: number
  readonly identity: ProcessIdentity
  /** `<directory>/<guard>/<run>`; the guard itself is run 0. */
  readonly mark: string
}

/**
 * All whose mark begins so, without ourselves. `sinceTicks`: start time of their guard; older processes are not looked at, which saves most of the
 * work. 0 when it is not known.
 */
export async function findMarked(prefix: string, sinceTicks: number): Promise<MarkedProcess[]> {
  for (let looks = 1; ; looks++) {
    const { found, hasChanged } = await lookOnce(prefix, sinceTicks)
    if (found.length > 0 || !hasChanged || looks === looksMax) return found
  }
}

/** `hasChanged`: something ended meanwhile. It may have started something that the list does not have. */
async function lookOnce(
  prefix: string,
  sinceTicks: number,
): Promise<{ found: MarkedProcess[]; hasChanged: boolean }> {
  const pids = (await processIds()).filter((pid) => startTicksOf(pid) >= sinceTicks)
  const found: MarkedProcess[] = []
  let hasChanged = false
  const look = async (): Promise<void> => {
    for (let pid = pids.pop(); pid !== undefined; pid = pids.pop()) {
      const marked = await markedProcess(pid, prefix)
      if (marked === 'ended') hasChanged = true
      else if (marked !== undefined) found.push(marked)
    }
  }
  await Promise.all(Array.from({ length: readersAtOnce }, look))
  return { found, hasChanged }
}

/** SIGKILL, if the pid still is that process's. */
export function killMarked({ pid, identity }: MarkedProcess): void {
  const now = identityOf(pid)
  if (now !== undefined && sameProcess(now, identity)) sendSignal(pid, 'SIGKILL')
}

/** A guard's own mark ends so. */
export const guardRun = '/0'

/**
 * Kills all whose mark begins so, until none is found any more. `guards`: what carries a guard's own mark too, which is only right when that guard is dead: a live one
 * may be waiting for a process that cannot die yet, and its life lock must not be freed before. Resolves with what is left when the time is over: processes that wait for a disk, or
 * a /proc that does not answer (then none are named).
 */
export async function endMarked(
  prefix: string,
  sinceTicks: number,
  guards: 'with_guards' | 'without_guards',
  timeoutMs: number,
): Promise<{ readonly isSure: boolean; readonly left: readonly number[] }> {
  const deadlineMs = monotonicMs() + timeoutMs
  for (;;) {
    const marked = await Promise.race([
      findMarked(prefix, sinceTicks),
      sleep(Math.max(1, deadlineMs - monotonicMs()), undefined, { ref: false }),
    ])
    if (marked === undefined) return { isSure: false, left: [] }
    const found = marked.filter(({ mark }) => guards === 'with_guards' || !mark.endsWith(guardRun))
    if (found.length === 0) return { isSure: true, left: [] }
    for (const one of found) killMarked(one)
    if (monotonicMs() >= deadlineMs) return { isSure: false, left: found.map(({ pid }) => pid) }
    await sleep(pauseMs)
  }
}

/** False when there is nobody (any more). `pid` below 0 is a group. */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // There is somebody, who has changed their user: they live, and cannot be reached.
    if (code === 'EPERM') return true
    if (code === 'ESRCH') return false
    throw error
  }
}

async function markedProcess(pid: number, prefix: string): Promise<MarkedProcess | 'ended' | undefined> {
  try {
    const environment = await readEnvironment(pid)
    const mark = environment
      .split('\0')
      .find((entry) => entry.startsWith(`${markVariable}=${prefix}`))
      ?.slice(markVariable.length + 1)
    if (mark === undefined) return undefined
    const identity = identityOf(pid)
    return identity === undefined ? 'ended' : { pid, identity, mark }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return 'ended'
    if (code === 'EACCES' || code === 'EPERM') return undefined
    throw error
  }
}

/** Infinity for one that has ended: its environment says so again. Unlike an environment, this is read without waiting for anybody. */
function startTicksOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19])
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** In the middle of an exec a process has no environment for a moment; it is waited for. */
async function readEnvironment(pid: number): Promise<string> {
  for (let tries = 1; ; tries++) {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1')
    if (environment !== '' || tries === execTriesMax || !(await isInExec(pid))) return environment
    await sleep(1)
  }
}

/** proc(5), from field 3 on: state, …, 9 flags, …, 51 the end of the environment, 0 until the new program has one. Threads of the kernel never do. */
async function isInExec(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const isOfTheKernel = (Number(fields[6]) & 0x0020_0000) !== 0
  return !(isOfTheKernel || /^[ZX]/.test(fields[0] ?? '')) && fields[48] === '0'
}

/** Without our own. Empty without /proc. */
async function processIds(): Promise<number[]> {
  const names = await readdir('/proc').catch(() => [])
  return names.filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid).map(Number)
}
