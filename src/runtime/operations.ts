/** Long work on nodes (drain, cordon …): what an operator started through this node, followed until it is verifiably done. Bounded, newest kept. */
import { randomBytes } from 'node:crypto'
import type { NodeId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import type { ShardMap } from '../core/sharding/shard-map.js'
import type { ControlLink } from './control-link.js'
import type { NodeOperation, NodeView } from './node-api.js'

const keptMax = 200
const checkMs = 100
const blockersMax = 20

export interface OperationsWorld {
  readonly link: ControlLink
  member(id: NodeId): NodeView | undefined
  shardMap(): ShardMap
  agentsOf(id: NodeId): number
  /** Agents there that nobody else could take. */
  blockers(id: NodeId): readonly { readonly agent: string; readonly reason: string }[]
}

export class Operations {
  private readonly world: OperationsWorld
  private readonly all = new Map<string, NodeOperation>()
  private timer: NodeJS.Timeout | undefined

  constructor(world: OperationsWorld) {
    this.world = world
  }

  list(): readonly NodeOperation[] {
    return [...this.all.values()].reverse()
  }

  async drain(nodeId: NodeId, deadlineMs: number): Promise<NodeOperation> {
    const node = this.require(nodeId)
    const left = this.leftOn(nodeId)
    await this.intent(nodeId, { drain: true, cordon: node.cordoned })
    const operation = this.add('drain', nodeId, deadlineMs, 'running', 'begins', left)
    this.timer ??= setInterval(() => this.check(), checkMs)
    return operation
  }

  async cordon(nodeId: NodeId, cordon: boolean): Promise<NodeOperation> {
    this.require(nodeId)
    await this.intent(nodeId, { drain: false, cordon })
    return this.add(
      cordon ? 'cordon' : 'uncordon',
      nodeId,
      0,
      'done',
      cordon ? 'gets nothing new' : 'may be given work again',
    )
  }

  /** Cancelling a drain gives the node back. Errors: `not_found`, `conflict` when it has ended. */
  async cancel(id: string): Promise<NodeOperation> {
    const operation = this.all.get(id)
    if (operation === undefined) throw new SkeinError('not_found', `no operation "${id}"`)
    if (operation.state !== 'running')
      throw new SkeinError('conflict', `operation ${id} is ${operation.state} already`)
    await this.intent(operation.nodeId, { drain: false, cordon: false })
    return this.set(operation, 'cancelled', 'cancelled by an operator')
  }

  close(): void {
    clearInterval(this.timer)
  }

  private require(nodeId: NodeId): NodeView {
    const node = this.world.member(nodeId)
    if (node === undefined)
      throw new SkeinError('not_found', `no node "${nodeId}"`, { details: { node_id: nodeId } })
    if (node.kind === 'external')
      throw new SkeinError('conflict', `"${nodeId}" is an external node: it owns no shards to move`, {
        details: { node_id: nodeId },
      })
    return node
  }

  private async intent(nodeId: NodeId, intent: { drain: boolean; cordon: boolean }): Promise<void> {
    const { ok, detail } = await this.world.link.call('command', { type: 'intent', nodeId, ...intent })
    if (!ok) throw new SkeinError('unavailable', `the store refused it: ${detail}`, { retryable: true })
  }

  private add(
    kind: NodeOperation['kind'],
    nodeId: NodeId,
    deadlineMs: number,
    state: NodeOperation['state'],
    detail: string,
    left: NodeOperation['left'] = { shards: 0, agents: 0 },
  ): NodeOperation {
    const nowMs = Date.now()
    const operation: NodeOperation = {
      id: randomBytes(6).toString('hex'),
      kind,
      nodeId,
      state,
      startedAtMs: nowMs,
      deadlineMs: nowMs + deadlineMs,
      detail,
      left,
      total: left,
      blockers: [],
    }
    this.all.set(operation.id, operation)
    if (this.all.size > keptMax) this.all.delete(this.all.keys().next().value as string)
    return operation
  }

  private set(operation: NodeOperation, state: NodeOperation['state'], detail: string): NodeOperation {
    const next = { ...operation, state, detail }
    if (this.all.has(operation.id)) this.all.set(operation.id, next)
    return next
  }

  private check(): void {
    const running = [...this.all.values()].filter((o) => o.state === 'running')
    if (running.length === 0) {
      clearInterval(this.timer)
      this.timer = undefined
      return
    }
    for (const operation of running) this.follow(operation)
  }

  private leftOn(nodeId: NodeId): NodeOperation['left'] {
    const shards = this.world.shardMap().filter((a) => a.nodeId === nodeId).length
    return { shards, agents: this.world.agentsOf(nodeId) }
  }

  private follow(operation: NodeOperation): void {
    const { nodeId } = operation
    const node = this.world.member(nodeId)
    const left = this.leftOn(nodeId)
    const { shards, agents } = left
    if (node === undefined || node.status === 'offline')
      this.set({ ...operation, left, blockers: [] }, 'done', 'the node is gone')
    else if (shards === 0 && agents === 0)
      this.set({ ...operation, left, blockers: [] }, 'done', 'everything runs on other nodes')
    else {
      const blockers = agents === 0 ? [] : this.world.blockers(nodeId).slice(0, blockersMax)
      const what = `${shards} shards and ${agents} agents`
      if (Date.now() <= operation.deadlineMs)
        this.set({ ...operation, left, blockers }, 'running', `${what} to move`)
      else
        this.set(
          { ...operation, left, blockers },
          'failed',
          `${what} are still there at the deadline; the node stays draining, cancel with uncordon`,
        )
    }
  }
}
