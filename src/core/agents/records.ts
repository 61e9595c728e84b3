/**
 * Agents as they lie in the store. Three keys each, with one kind of writer:
 *
 * | key | says | written by |
 * |---|---|---|
 * | `agents/spec/<name>` | what is wanted | any node, for its caller |
 * | `agents/at/<name>` | which lease runs it, under which epoch | the leader; the owner, when it hands over to whom the leader named |
 * | `agents/end/<name>` | that the owner ran it to its end under that epoch | the owner |
 *
 * Where many are assigned at once, the leader writes `agents/pack/<term>-<n>` instead of as many `agents/at/<name>`: one value with the assignments of
 * hundreds, a fraction of the price for the store and for everyone who watches it. The next change of one of them is an `agents/at/<name>` again. Which counts
 * follows from the keys alone: of all assignments of a name the one with the highest epoch, between equals that of its own key; one of a
 * pack only for the very description it was made for, told by the revision at which that was created. So an entry of a pack that is overtaken is so for
 * good, and the leader may strike it out at leisure.
 *
 * `agents/floor` is the highest epoch of any agent that was removed, so that no epoch of a name comes twice.
 */

import { type Strategy, strategies } from '../balancing/balancer.js'
import type { Constraints, Origin } from '../balancing/candidate.js'
import {
  asEpoch,
  asLeaseId,
  type Epoch,
  type LeaseId,
  type NodeId,
  type Revision,
  type Term,
} from '../kernel/brand.js'
import type { KeyValue } from '../kernel/store-types.js'
import { jsonDecode } from '../kernel/text.js'

export const agentsPrefix = 'agents/'
export const specPrefix = 'agents/spec/'
export const specKey = (name: string): string => specPrefix + name
export const atPrefix = 'agents/at/'
export const atKey = (name: string): string => atPrefix + name
export const packPrefix = 'agents/pack/'
export const packKey = (term: Term, n: number | ''): string => `${packPrefix}${term}-${n}`
export const endPrefix = 'agents/end/'
export const endKey = (name: string): string => endPrefix + name
export const floorKey = 'agents/floor'
/** Where the guard of a lease has its life lock: its processes are gone when that lock can be had. */
export const guardPrefix = 'guards/'
export const guardKey = (lease: LeaseId): string => guardPrefix + lease
/** That lease was ended before its time: its guard may not have ended its processes yet. */
export const earlyPrefix = 'early/'
export const earlyKey = (lease: LeaseId): string => earlyPrefix + lease

/** An external node holds no lease of the store; its registration stands for one. */
export const externalLease = (nodeId: NodeId, registeredAtMs: number): LeaseId =>
  asLeaseId(`external:${nodeId}:${registeredAtMs}`)

export const isExternal = (lease: LeaseId): boolean => lease.startsWith('external:')

export interface RestartPolicy {
  readonly mode: 'always' | 'on_failure' | 'never'
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** More restarts than this within `windowMs`: failed. */
  readonly triesMax: number
  readonly windowMs: number
}

export interface HookSpec {
  readonly command: string
  readonly args: readonly string[]
}

export interface ProcessPart {
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly stopGraceMs: number
  /** Run where it stopped; its output is the state that travels. */
  readonly saveHook?: HookSpec
  /** Run before it starts elsewhere, with that state as input. */
  readonly loadHook?: HookSpec
}

export interface AgentSpec {
  readonly name: string
  /** `process`, or a kind that a program defined. */
  readonly kind: string
  readonly process?: ProcessPart
  /** For a defined agent: JSON, given to it at its first start. */
  readonly config?: unknown
  readonly restart?: RestartPolicy
  readonly strategy?: Strategy
  readonly services: readonly string[]
  readonly constraints: Constraints
  readonly desired: 'running' | 'paused' | 'removed'
  /** Raised to have an agent that ended run again. */
  readonly generation: number
  /** An operator wants it moved; the leader picks a place where none is named. Serves once: an assignment made after it is its answer. */
  readonly move?: { readonly to: NodeId | null; readonly id: string }
  /** Where it was asked for. */
  readonly origin: Origin
  readonly createdAtMs: number
}

export interface AgentPlace {
  readonly nodeId: NodeId
  readonly lease: LeaseId
}

export interface Assignment extends AgentPlace {
  readonly epoch: Epoch
  /** Wall clock of who wrote it, ms. */
  readonly assignedAtMs: number
  /** The owner is asked to hand it to this one. */
  readonly to: AgentPlace | null
  /** Strategy, `migrate`, `drain`, `rebalance`. */
  readonly by: string
  /** Last `move` of the spec that was answered. */
  readonly moveId: string
  /** Names the state that its former owner sent ahead; empty where the journal is to be read. */
  readonly state: string
}

/** An assignment in a pack: of nobody who is asked to move, and without a state that was sent ahead. */
export interface Packed {
  readonly name: string
  /** At which the description was created that it was made for. */
  readonly madeRev: Revision
  readonly at: Assignment
}

/** How a run under one epoch ended, by the owner's word. `refused`: it could not be run there. */
export interface AgentEnd {
  readonly epoch: Epoch
  readonly outcome: 'completed' | 'failed' | 'stopped' | 'refused'
  readonly detail: string
  /** Of the spec that it ran. */
  readonly generation: number
  /** The next epoch must be higher: the journal has seen it. */
  readonly floor: Epoch
}

export function encodeSpec(s: AgentSpec): unknown {
  return { v: 1, ...s }
}

export function decodeSpec(kv: KeyValue): AgentSpec | undefined {
  const value = jsonDecode(kv.value) as (AgentSpec & { v?: number }) | undefined
  if (
    typeof value !== 'object' ||
    value === null ||
    typeof value.name !== 'string' ||
    typeof value.kind !== 'string'
  )
    return undefined
  const { strategy } = value
  const spec: AgentSpec = {
    ...value,
    services: value.services ?? [],
    constraints: value.constraints ?? {},
    desired: value.desired ?? 'running',
    generation: value.generation ?? 0,
    origin: value.origin ?? { zone: '', region: '' },
    createdAtMs: value.createdAtMs ?? 0,
  }
  if (strategy === undefined || strategies.includes(strategy)) return spec
  // Of a later version: it is placed as the cluster places by default.
  const { strategy: _unknown, ...rest } = spec
  return rest
}

export function encodeAssignment(a: Assignment): unknown {
  return {
    v: 1,
    node_id: a.nodeId,
    lease: a.lease,
    epoch: a.epoch,
    at: a.assignedAtMs,
    by: a.by,
    ...(a.to === null ? {} : { to: { node_id: a.to.nodeId, lease: a.to.lease } }),
    ...(a.moveId === '' ? {} : { move: a.moveId }),
    ...(a.state === '' ? {} : { state: a.state }),
  }
}

export function decodeAssignment(kv: KeyValue): Assignment | undefined {
  const value = jsonDecode(kv.value) as Record<string, unknown> | undefined
  if (typeof value !== 'object' || value === null || typeof value.node_id !== 'string') return undefined
  const to = value.to as { node_id: string; lease: string } | undefined
  return {
    nodeId: value.node_id,
    lease: asLeaseId(String(value.lease)),
    epoch: asEpoch(Number(value.epoch)),
    assignedAtMs: Number(value.at ?? 0),
    by: String(value.by ?? ''),
    to: to === undefined ? null : { nodeId: to.node_id, lease: asLeaseId(to.lease) },
    moveId: String(value.move ?? ''),
    state: String(value.state ?? ''),
  }
}

export function encodePack(packed: readonly Packed[]): unknown {
  const leases = new Map<LeaseId, number>()
  const nodes: [NodeId, LeaseId][] = []
  const agents = packed.map(({ name, madeRev, at }) => {
    let node = leases.get(at.lease)
    if (node === undefined) {
      node = nodes.push([at.nodeId, at.lease]) - 1
      leases.set(at.lease, node)
    }
    return [name, node, at.epoch, Number(madeRev), at.assignedAtMs, at.by, at.moveId]
  })
  return { v: 1, nodes, agents }
}

export function decodePack(kv: KeyValue): Packed[] {
  const value = jsonDecode(kv.value) as { nodes?: unknown; agents?: unknown } | undefined
  if (!Array.isArray(value?.nodes) || !Array.isArray(value.agents)) return []
  const { nodes, agents } = value as { nodes: [string, string][]; agents: unknown[][] }
  return agents.flatMap(([name, node, epoch, madeRev, at, by, moveId]) => {
    const place = nodes[Number(node)]
    if (place === undefined || typeof name !== 'string') return []
    const assignment: Assignment = {
      nodeId: place[0],
      lease: asLeaseId(place[1]),
      epoch: asEpoch(Number(epoch)),
      assignedAtMs: Number(at),
      to: null,
      by: String(by),
      moveId: String(moveId),
      state: '',
    }
    return [{ name, madeRev: BigInt(Number(madeRev)), at: assignment }]
  })
}

export function encodeEnd(e: AgentEnd): unknown {
  return { v: 1, ...e }
}

export function decodeEnd(kv: KeyValue): AgentEnd | undefined {
  const value = jsonDecode(kv.value) as Partial<AgentEnd> | undefined
  if (typeof value !== 'object' || value === null || typeof value.epoch !== 'number') return undefined
  return {
    epoch: asEpoch(value.epoch),
    outcome: value.outcome ?? 'stopped',
    detail: value.detail ?? '',
    generation: value.generation ?? 0,
    floor: asEpoch(value.floor ?? 0),
  }
}
