/** One guard per lease, started when the first process is to run, known to the store before anything runs under it. */
import { guardKey } from '../../core/agents/records.js'
import type { LeaseId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { registrationKey } from '../../core/kernel/registration.js'
import type { Transaction, TransactionResult } from '../../core/kernel/store-types.js'
import { jsonEncode } from '../../core/kernel/text.js'
import type { AgentProcesses, ProcessEvent } from '../../ports/agent-processes.js'

export interface GuardKeeperWorld {
  readonly nodeId: string
  make(): AgentProcesses
  transact(txn: Transaction): Promise<TransactionResult>
  /** Where the control thread tells the guard of each renewal; null for none. */
  renewAt(address: string | null): void
  event(event: ProcessEvent): void
  /** All that ran under it is gone. */
  lost(lease: LeaseId, detail: string): void
}

export class GuardKeeper {
  private readonly world: GuardKeeperWorld
  private lease: LeaseId | undefined
  private opening: Promise<AgentProcesses> | undefined
  private processes: AgentProcesses | undefined

  constructor(world: GuardKeeperWorld) {
    this.world = world
  }

  get(lease: LeaseId): Promise<AgentProcesses> {
    if (this.lease !== lease || this.opening === undefined) {
      const before = this.end()
      this.lease = lease
      const opening = before.then(() => this.open(lease))
      this.opening = opening
      opening.catch(() => {
        if (this.opening === opening) this.opening = undefined
      })
    }
    return this.opening
  }

  private async open(lease: LeaseId): Promise<AgentProcesses> {
    const { world } = this
    const processes = world.make()
    this.processes = processes
    processes.onEvent((event) => world.event(event))
    processes.onLost((detail) => {
      if (this.processes !== processes) return
      this.opening = undefined
      this.processes = undefined
      world.renewAt(null)
      world.lost(lease, detail)
      void processes[Symbol.asyncDispose]()
    })
    try {
      const { lifeLock, renewalAddress } = await processes.open()
      const { ok } = await world.transact({
        if: [{ key: registrationKey(world.nodeId), target: 'lease', op: '=', value: lease }],
        then: [{ type: 'put', key: guardKey(lease), value: jsonEncode({ v: 1, life_lock: lifeLock }) }],
      })
      if (!ok) throw new SkeinError('fenced', 'the lease that it was to run under is over')
      world.renewAt(renewalAddress)
      return processes
    } catch (error) {
      if (this.processes === processes) this.processes = undefined
      await processes[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Ends the guard and all that runs under it. */
  async end(): Promise<void> {
    const { processes, opening } = this
    this.opening = undefined
    this.lease = undefined
    await opening?.catch(() => {})
    this.processes = undefined
    if (processes === undefined) return
    this.world.renewAt(null)
    await processes[Symbol.asyncDispose]()
  }
}
