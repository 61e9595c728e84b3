/**
 * Who holds a lease: one key per node id, attached to the lease, so that it ends with it. The key's presence is what permits its
 * lease to own anything; its absence is the proof that the lease ended.
 */
import {
  asBootId,
  asBootNumber,
  asLeaseId,
  type BootId,
  type BootNumber,
  type LeaseId,
  type NodeId,
} from './brand.js'
import type { StoreView } from './store-view.js'

export const registrationPrefix = 'nodes/'
export const registrationKey = (nodeId: NodeId): string => `nodes/${nodeId}`
/** Last boot of a node id; its revision at the first registration is the boot's number. Outlives the lease. */
export const bootKey = (nodeId: NodeId): string => `boots/${nodeId}`
/** While it exists, that lease is not renewed: the leader wants its work freed. */
export const evictionPrefix = 'evicted/'
export const evictionKey = (lease: LeaseId): string => `evicted/${lease}`

export interface Registration {
  readonly nodeId: NodeId
  readonly bootId: BootId
  /** 0 in the very first registration of a boot, whose number is the key's own revision. */
  readonly boot: BootNumber
  readonly lease: LeaseId
  /** Where its life lock lies; empty where there is none. */
  readonly lifeLock: string
  readonly controlAddress: string
  readonly role: string
  readonly zone: string
  /** Highest format level that its build reads. */
  readonly formatMax: number
}

export function encodeRegistration(r: Registration): unknown {
  return {
    v: 1,
    node_id: r.nodeId,
    boot_id: r.bootId,
    boot: r.boot,
    lease: r.lease,
    life_lock: r.lifeLock,
    control_address: r.controlAddress,
    role: r.role,
    zone: r.zone,
    format_max: r.formatMax,
  }
}

export function readRegistration(view: StoreView, nodeId: NodeId): Registration | undefined {
  const kv = view.kv(registrationKey(nodeId))
  const value = view.json(registrationKey(nodeId)) as Record<string, unknown> | undefined
  if (kv === undefined || kv.lease === null || value === undefined || value === null) return undefined
  const boot = Number(value.boot)
  return {
    nodeId,
    bootId: asBootId(String(value.boot_id)),
    boot: asBootNumber(boot === 0 ? Number(kv.modRev) : boot),
    lease: asLeaseId(kv.lease),
    lifeLock: String(value.life_lock ?? ''),
    controlAddress: String(value.control_address ?? ''),
    role: String(value.role ?? 'worker'),
    zone: String(value.zone ?? ''),
    formatMax: Number(value.format_max ?? 1),
  }
}

interface Known {
  readonly changes: number
  readonly all: readonly Registration[]
}

const known = new WeakMap<StoreView, Known>()

/** All present lease holders, in order of node id; the same array until one of them changes. */
export function registrations(view: StoreView): readonly Registration[] {
  const changes = view.changesOf(registrationPrefix)
  const before = known.get(view)
  if (before?.changes === changes) return before.all
  const all = view
    .under(registrationPrefix)
    .sort()
    .flatMap((key) => readRegistration(view, key.slice(registrationPrefix.length)) ?? [])
  known.set(view, { changes, all })
  return all
}
