/**
 * What of the calls goes into the audit log: every one that changes something, by itself. Kinds that come by the thousand (publishing,
 * heartbeats) and whatever was refused for its caller's sake are counted by caller, route and outcome and written once a minute: nobody may
 * push the log's older lines out by knocking.
 */
import type { AuditInput, SkeinNode } from '../runtime/node-api.js'
import type { Principal } from './access.js'

interface Call {
  readonly method: string
  /** Of the route table. */
  readonly route: string
  readonly target: string
  readonly status: number
  readonly code: string | undefined
  readonly request: string
}

interface Tally {
  entry: AuditInput
  count: number
  readonly since: string
}

const summaryPeriodMs = 60_000
const talliesMax = 1_024
const targetCharactersMax = 300
const statusesOfStrangers = new Set([401, 403, 429])

export class AuditTrail {
  private readonly audit: SkeinNode['audit']
  private readonly tallies = new Map<string, Tally>()
  private timer: NodeJS.Timeout | undefined

  constructor(audit: SkeinNode['audit']) {
    this.audit = audit
  }

  /** `isFrequent`: of a kind that is counted instead of listed. */
  note(principal: Principal, call: Call, isFrequent: boolean): void {
    const { name, role, via, address } = principal
    const { code, target, ...rest } = call
    const entry: AuditInput = {
      who: name,
      role: role ?? null,
      via,
      address,
      ...rest,
      target: target.slice(0, targetCharactersMax),
      ...(code === undefined ? {} : { code }),
    }
    if (isFrequent || statusesOfStrangers.has(call.status)) this.tally(entry)
    else this.audit.record(entry)
  }

  /** Writes what was counted; nothing is counted afterwards until something is noted again. */
  flush(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    for (const { entry, count, since } of this.tallies.values()) this.audit.record({ ...entry, count, since })
    this.tallies.clear()
  }

  private tally(entry: AuditInput): void {
    const key = `${entry.who} ${entry.address} ${entry.method} ${entry.route} ${entry.status}`
    const known = this.tallies.get(key)
    if (known !== undefined) {
      known.count++
      known.entry = entry
      return
    }
    if (this.tallies.size >= talliesMax) this.flush()
    this.tallies.set(key, { entry, count: 1, since: new Date().toISOString() })
    this.timer ??= setTimeout(() => this.flush(), summaryPeriodMs)
    this.timer.unref()
  }
}
