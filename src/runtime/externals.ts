/** External nodes, which run no Skein: registered and heard of through the store, so that every node knows the same of them. */
import { SkeinError } from '../core/kernel/error.js'
import type { StoreOp } from '../core/kernel/store-types.js'
import { jsonDecode, jsonEncode } from '../core/kernel/text.js'
import { type ExternalRecord, externalPrefix } from '../core/node/candidates.js'
import type { ControlLink } from './control-link.js'
import type { ExternalNodeInput, Heartbeat, NodeView } from './node-api.js'
import type { Roster } from './roster.js'
import { until } from './until.js'

/** While others of it are written at the same time. */
const heartbeatTries = 5

export class Externals {
  private readonly roster: Roster
  private readonly link: ControlLink

  constructor(roster: Roster, link: ControlLink) {
    this.roster = roster
    this.link = link
  }

  /** False when no external node has that id. */
  async remove(id: string): Promise<boolean> {
    if (this.roster.external(id) === undefined) return false
    await this.link.call('transact', { then: [{ type: 'delete', key: externalPrefix + id }] })
    return true
  }

  async register(node: ExternalNodeInput): Promise<NodeView> {
    const known = this.roster.get(node.id)
    if (known !== undefined && (known.kind === 'node' || known.status !== 'offline'))
      throw new SkeinError('conflict', `node "${node.id}" is registered and ${known.status}`, {
        details: { node_id: node.id },
      })
    const nowMs = Date.now()
    const before = this.roster.external(node.id)?.rev ?? 0n
    const record: ExternalRecord = {
      id: node.id,
      hostname: node.hostname,
      ip_address: node.ipAddress,
      port: node.port,
      max_agents: node.maxAgents,
      services: node.services,
      registered_at_ms: nowMs,
      heartbeat_at_ms: nowMs,
      cpu_usage: 0,
      memory_usage: 0,
      disk_usage: 0,
      load_average: 0,
    }
    const key = externalPrefix + record.id
    const { ok, rev } = await this.link.call('transact', {
      if: [{ key, target: 'modRev', op: '=', value: before }],
      then: [{ type: 'put', key, value: jsonEncode(record) }],
    })
    if (!ok)
      throw new SkeinError('conflict', `node "${node.id}" was registered, or heard of, just now`, {
        details: { node_id: node.id },
      })
    await until(() => (this.roster.external(node.id)?.rev ?? 0n) >= rev, 'the registration to be seen')
    return this.roster.get(node.id) as NodeView
  }

  /** Goes by the store: this node may not have heard yet of one that was registered at another, or may still list one that was removed. */
  async heartbeat(id: string, beat: Heartbeat): Promise<void> {
    const key = externalPrefix + id
    const known = this.roster.external(id)
    let kv = known === undefined ? undefined : { record: known.record, rev: known.rev }
    for (let tries = 0; tries < heartbeatTries; tries++) {
      const read: StoreOp = { type: 'get', key }
      const { ok, results } = await this.link.call(
        'transact',
        kv === undefined
          ? { then: [read] }
          : {
              if: [{ key, target: 'modRev', op: '=', value: kv.rev }],
              then: [{ type: 'put', key, value: jsonEncode({ ...kv.record, ...figuresOf(beat) }) }],
              else: [read],
            },
      )
      if (ok && kv !== undefined) return
      const found = results[0]?.kv
      const value = found === undefined || found === null ? undefined : jsonDecode(found.value)
      if (found === undefined || found === null || value === undefined)
        throw new SkeinError('not_found', `no external node "${id}": register it first`, {
          details: { node_id: id },
        })
      kv = { record: value as ExternalRecord, rev: found.modRev }
    }
    throw new SkeinError('conflict', `node "${id}" was heard of more than once at a time`, {
      retryable: true,
    })
  }
}

function figuresOf(beat: Heartbeat) {
  return {
    heartbeat_at_ms: Date.now(),
    cpu_usage: beat.cpuUsage,
    memory_usage: beat.memoryUsage,
    disk_usage: beat.diskUsage,
    load_average: beat.loadAverage,
  }
}
