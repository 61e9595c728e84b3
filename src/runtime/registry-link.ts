/** The registry on the mesh: packs what it has to say, checks what others say, beats. */
import { asBootId, type NodeId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import {
  Registry,
  type RegistryMessage,
  type RowChange,
  type RowValue,
  registryLimits,
} from '../core/registry/registry.js'
import type { Fabric } from './fabric.js'
import { pack, unpack } from './mesh-frames.js'

export const registryFrame = 11

const beatMs = 1_000
/** Of one row's value, packed. */
const valueBytesMax = 16_384

export class RegistryLink {
  readonly registry: Registry
  private readonly fabric: Fabric
  private readonly timer: NodeJS.Timeout
  private isScheduled = false
  private isClosed = false

  constructor(fabric: Fabric) {
    this.fabric = fabric
    this.registry = new Registry(fabric.nodeId, fabric.bootId)
    fabric.handle(registryFrame, ({ from, body }) => {
      this.registry.receive(from.nodeId, unpackMessage(body))
      this.send()
    })
    fabric.onPeers(() => {
      this.registry.peers(fabric.peers)
      this.send()
    })
    this.timer = setInterval(() => {
      this.registry.beat()
      this.send()
    }, beatMs)
    this.timer.unref()
  }

  /**
   * Others know of it a moment later. Throws `overloaded` when this node has {@link registryLimits.rowsMax} rows, `payload_too_large`,
   * `invalid_argument`.
   */
  put(kind: string, key: string, value: RowValue): void {
    // A row that others refuse would hold up all that this node says after it.
    if (typeof key !== 'string' || key === '' || key.length > registryLimits.keyCharsMax)
      throw new SkeinError(
        'invalid_argument',
        `a ${kind} of ${typeof key === 'string' ? `${key.length} characters` : `type ${typeof key}`}; 1 to ${registryLimits.keyCharsMax} characters are allowed`,
        { details: { field: kind } },
      )
    const { length } = pack(value)
    if (length > valueBytesMax)
      throw new SkeinError(
        'payload_too_large',
        `${kind} "${key}" with ${length} bytes of data; ${valueBytesMax} are allowed`,
        { details: { field: kind } },
      )
    if (!this.registry.put(kind, key, value))
      throw new SkeinError(
        'overloaded',
        `this node has ${registryLimits.rowsMax} rows in the registry: no room for ${kind} "${key}"`,
        { details: { field: kind } },
      )
    this.schedule()
  }

  delete(kind: string, key: string): void {
    this.registry.delete(kind, key)
    this.schedule()
  }

  close(): void {
    this.isClosed = true
    clearInterval(this.timer)
  }

  /** What changes in one turn of the loop goes out together. */
  private schedule(): void {
    if (this.isScheduled || this.isClosed) return
    this.isScheduled = true
    setImmediate(() => {
      this.isScheduled = false
      this.registry.flush()
      this.send()
    })
  }

  /** What cannot be queued is found missing at the next beat. */
  private send(): void {
    if (this.isClosed) return
    for (const { to, message } of this.registry.take())
      this.fabric.send(to as NodeId, registryFrame, packMessage(message))
  }
}

const types = ['delta', 'ask', 'beat'] as const

function packMessage(m: RegistryMessage): Uint8Array {
  if (m.type === 'ask') return pack([1, m.bootId, m.have])
  if (m.type === 'beat') return pack([2, m.bootId, m.version])
  return pack([0, m.bootId, m.from, m.to, m.reset, m.changes])
}

/** Throws `protocol_violation`. */
function unpackMessage(body: Uint8Array): RegistryMessage {
  const row = unpack(body)
  if (!Array.isArray(row) || typeof row[1] !== 'string') throw malformed()
  const type = types[row[0] as number]
  const bootId = asBootId(row[1])
  if (type === 'ask' && isCount(row[2])) return { type, bootId, have: row[2] }
  if (type === 'beat' && isCount(row[2])) return { type, bootId, version: row[2] }
  const [, , from, to, reset, changes] = row as unknown[]
  if (type !== 'delta' || !isCount(from) || !isCount(to) || typeof reset !== 'boolean') throw malformed()
  if (!Array.isArray(changes) || changes.length > registryLimits.changesMax) throw malformed()
  for (const change of changes as unknown[]) if (!isChange(change, to)) throw malformed()
  return { type, bootId, from, to, reset, changes: changes.map(asChange) }
}

function isChange(change: unknown, to: number): boolean {
  if (!Array.isArray(change) || change.length < 3 || change.length > 4) return false
  const [version, kind, key] = change as unknown[]
  return (
    isCount(version) &&
    version <= to &&
    typeof kind === 'string' &&
    /^[a-z_]{1,32}$/.test(kind) &&
    typeof key === 'string' &&
    key !== '' &&
    key.length <= registryLimits.keyCharsMax
  )
}

function asChange(change: unknown[]): RowChange {
  const [version, kind, key, value] = change as [number, string, string, unknown]
  return value === undefined ? [version, kind, key] : [version, kind, key, value]
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function malformed(): SkeinError {
  return new SkeinError('protocol_violation', 'a malformed registry frame')
}
