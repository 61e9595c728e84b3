/**
 * Checkpoints of agents over the files of all leases: the highest counts, whichever file holds it.
 *
 * The idea: an agent is looked up in every file, so lookups come in batches, one pass over the files for all of them.
 * During a pass what counts may move to a file that was looked at already: a file is dropped after its content has moved,
 * a row removed after a higher one is in another file. Both can be seen, and then the pass is repeated. A file that cannot
 * be read ends a lookup: it may hold the latest state, and an older one would be a lie.
 *
 * To attach a file costs more than all that is looked up in it, and most are of leases long gone: those are told by their
 * stamps, and not opened at all while they hold no checkpoint.
 *
 * Must not live here: SQL, writing.
 */
import type { LeaseId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { type AgentRecord, checkpointOf, mayLapse, outranks } from '../../engines/journal/checkpoint.js'
import { journalLimits } from '../../engines/journal/rules.js'
import { compareKeys } from '../../engines/store/key-order.js'
import type { Checkpoint, CheckpointPage } from '../../ports/journal.js'
import type { RecordHead } from './checkpoint-table.js'
import { leasesIn, pathOf, stampOf, syncLogs } from './directory.js'
import type { LeaseDatabase } from './lease-database.js'

/** Undefined where the lease has no file. */
type UseFile = <T>(lease: LeaseId, use: (file: LeaseDatabase) => T) => T | undefined
type HeadsIn = (file: LeaseDatabase) => readonly RecordHead[]

/** What all files say of one agent. */
interface Finding {
  /** The highest. */
  readonly head: RecordHead
  readonly lease: LeaseId
  /** Does any of them hold a state? */
  readonly hasState: boolean
}

/** By which a removal from a file shows: the stamp of a file at rest, otherwise how often something was removed. */
interface Mark {
  readonly lease: LeaseId
  readonly stamp?: string
  readonly removals?: number | undefined
}

interface Step<T> {
  readonly found: readonly T[]
  /** Go on after this agent; undefined at the end. */
  readonly next: string | undefined
}

const passesMax = 5
const agentsPerStep = 256
const bytesPerStepMax = journalLimits.readBytesMax

export class Checkpoints {
  readonly #directory: string
  readonly #use: UseFile
  /** Files at rest that hold no checkpoints, by their stamp at the time. */
  readonly #empty = new Map<LeaseId, string>()

  constructor(directory: string, use: UseFile) {
    this.#directory = directory
    this.#use = use
  }

  /** As many as one answer holds, the first at least. What is returned is on the disk. */
  read(agents: readonly string[]): (Checkpoint | undefined)[] {
    return this.#steadily(() => {
      const findings = this.#find((file) => file.checkpoints.heads(agents))
      const fetched = this.#fetch(agents, findings)
      // Read first, synced then, as `seal` does: whatever was seen is in the log by now.
      this.#sync(agents.slice(0, fetched?.length).flatMap((agent) => findings.get(agent) ?? []))
      return fetched
    })
  }

  list(after: string, limit: number): CheckpointPage {
    return this.#steadily(() => {
      let end: string | undefined
      const findings = this.#find((file) => {
        const heads = file.checkpoints.headsAfter(after, limit)
        // Beyond the last of a full page this file may have more.
        const last = heads.length === limit ? heads.at(-1)?.agent : undefined
        if (last !== undefined && (end === undefined || compareKeys(last, end) < 0)) end = last
        return heads
      })
      const within = [...findings.keys()].filter((agent) => end === undefined || compareKeys(agent, end) <= 0)
      const agents = within.sort(compareKeys).slice(0, limit)
      const fetched = this.#fetch(agents, findings)
      if (fetched === undefined) return undefined
      const checkpoints = fetched.flatMap((checkpoint) => checkpoint ?? [])
      const isEnd = end === undefined && fetched.length === within.length
      return { checkpoints, next: isEnd ? undefined : agents[fetched.length - 1] }
    })
  }

  /**
   * Which records of a file may go, among some agents after the one given: those that another file outranks, and notes
   * of forgotten agents that are old and hide nothing.
   */
  idle(lease: LeaseId, nowMs: number, after: string): Step<RecordHead> {
    const { found, next } = this.#heads(lease, after)
    return { found: this.#idleOf(lease, found, nowMs), next }
  }

  /** What has to outlive a file, of some agents after the one given. */
  legacy(lease: LeaseId, nowMs: number, after: string): Step<AgentRecord> {
    const { found: heads, next } = this.#heads(lease, after)
    const idle = new Set(this.#idleOf(lease, heads, nowMs))
    const records: AgentRecord[] = []
    let bytes = 0
    for (const [i, head] of heads.entries()) {
      if (bytes > bytesPerStepMax) return { found: records, next: heads[i - 1]?.agent }
      if (idle.has(head)) continue
      const record = this.#use(lease, (file) => file.checkpoints.record(head.agent))
      if (record === undefined) continue
      records.push(record)
      bytes += record.state.length
    }
    return { found: records, next }
  }

  #heads(lease: LeaseId, after: string): Step<RecordHead> {
    const heads = this.#use(lease, (file) => file.checkpoints.headsAfter(after, agentsPerStep)) ?? []
    return { found: heads, next: heads.length === agentsPerStep ? heads.at(-1)?.agent : undefined }
  }

  /** None where another file cannot be read: it is not known then what may go. */
  #idleOf(lease: LeaseId, heads: readonly RecordHead[], nowMs: number): RecordHead[] {
    const agents = heads.map(({ agent }) => agent)
    if (agents.length === 0) return []
    try {
      return this.#steadily(() => {
        const others = this.#find((file) => file.checkpoints.heads(agents), lease)
        const idle = heads.filter((head) => {
          const other = others.get(head.agent)
          if (other !== undefined && outranks(other.head, head)) return true
          return other?.hasState !== true && mayLapse(head, nowMs)
        })
        // What takes a record's place has to be on the disk before it goes.
        this.#sync(idle.flatMap(({ agent }) => others.get(agent) ?? []))
        return idle
      })
    } catch (error) {
      if (isSkeinError(error) && error.code === 'corrupt') return []
      throw error
    }
  }

  #find(headsIn: HeadsIn, except?: LeaseId): ReadonlyMap<string, Finding> {
    const findings = new Map<string, Finding>()
    for (const lease of leasesIn(this.#directory)) {
      if (lease === except) continue
      for (const head of this.#headsOf(lease, headsIn)) {
        const before = findings.get(head.agent)
        const hasState = head.forgottenAtMs === 0 || before?.hasState === true
        const wins = before === undefined || outranks(head, before.head)
        findings.set(head.agent, wins ? { head, lease, hasState } : { ...before, hasState })
      }
    }
    return findings
  }

  #headsOf(lease: LeaseId, headsIn: HeadsIn): readonly RecordHead[] {
    const stamp = this.#stamp(lease)
    if (stamp !== undefined && this.#empty.get(lease) === stamp) return []
    this.#empty.delete(lease)
    return (
      this.#use(lease, (file) => {
        const isEmpty = file.checkpoints.headsAfter('', 1).length === 0
        if (isEmpty && stamp !== undefined) this.#empty.set(lease, stamp)
        return isEmpty ? [] : headsIn(file)
      }) ?? []
    )
  }

  /**
   * Of the first of these agents, as many as an answer holds, each file opened once. Undefined where a row has gone since
   * it was found.
   */
  #fetch(
    agents: readonly string[],
    findings: ReadonlyMap<string, Finding>,
  ): (Checkpoint | undefined)[] | undefined {
    const answered: string[] = []
    const byLease = new Map<LeaseId, string[]>()
    let bytes = 0
    for (const agent of agents) {
      if (bytes > bytesPerStepMax) break
      answered.push(agent)
      const finding = findings.get(agent)
      if (finding === undefined) continue
      byLease.set(finding.lease, [...(byLease.get(finding.lease) ?? []), agent])
      bytes += finding.head.bytes
    }
    const records = new Map<string, AgentRecord>()
    for (const [lease, wanted] of byLease) {
      const found = this.#use(lease, (file) =>
        wanted.flatMap((agent) => file.checkpoints.record(agent) ?? []),
      )
      if (found?.length !== wanted.length) return undefined
      for (const record of found) records.set(record.agent, record)
    }
    return answered.map((agent) => checkpointOf(records.get(agent)))
  }

  #sync(findings: readonly Finding[]): void {
    const leases = new Set(findings.map((finding) => finding.lease))
    syncLogs([...leases].map((lease) => pathOf(this.#directory, lease)))
  }

  /** What a pass found, if nothing was removed anywhere meanwhile. A pass without a result is repeated. */
  #steadily<T>(pass: () => T | undefined): T {
    for (let n = 1; n <= passesMax; n++) {
      const marks = leasesIn(this.#directory).map((lease) => this.#mark(lease))
      const found = pass()
      const there = new Set(leasesIn(this.#directory))
      for (const lease of this.#empty.keys()) if (!there.has(lease)) this.#empty.delete(lease)
      const isSame = marks.every((mark) => there.has(mark.lease) && this.#isSame(mark))
      if (found !== undefined && isSame) return found
    }
    throw new SkeinError('unavailable', `the journal's files changed during each of ${passesMax} passes`, {
      retryable: true,
    })
  }

  #mark(lease: LeaseId): Mark {
    const stamp = this.#stamp(lease)
    return stamp === undefined ? { lease, removals: this.#removals(lease) } : { lease, stamp }
  }

  /** Has nothing been removed from the file since? */
  #isSame({ lease, stamp, removals }: Mark): boolean {
    return stamp === undefined ? this.#removals(lease) === removals : this.#stamp(lease) === stamp
  }

  #stamp(lease: LeaseId): string | undefined {
    return stampOf(pathOf(this.#directory, lease))
  }

  #removals(lease: LeaseId): number | undefined {
    return this.#use(lease, (file) => file.checkpoints.removals())
  }
}
