/** Global names: who registered what, found at the speed of a map on every node, and callable from each. The rule of who holds a name is `core/registry/names.ts`. */
import type { LeaseId, NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { Transaction, TransactionResult } from '../../core/kernel/store-types.js'
import { jsonDecode, jsonEncode } from '../../core/kernel/text.js'
import {
  type NameKind,
  type NameRow,
  nameKind,
  nameKinds,
  type Registration,
  standing,
} from '../../core/registry/names.js'
import { Breaker } from '../../core/services/breaker.js'
import type { Fabric } from '../fabric.js'
import type { RegistryLink } from '../registry-link.js'
import type { CallOptions, NameHandle, NameRef, NamesApi, NameView, RegisterOptions } from './api-types.js'
import type { Caller } from './caller.js'
import { Gate } from './endpoint.js'
import type { Choice, Instance } from './instances.js'
import type { Provider } from './provider.js'

export interface NamesWorld {
  readonly fabric: Fabric
  readonly rows: RegistryLink
  readonly provider: Provider
  readonly caller: Caller
  readonly currentLease: () => LeaseId | null
  readonly transact: (transaction: Transaction) => Promise<TransactionResult>
}

interface Own {
  readonly name: string
  readonly kind: NameKind
  readonly slot: number
  readonly lease: LeaseId | null
  readonly options: RegisterOptions
  isHeld: boolean
}

const storePrefix = 'names/'
/** Under which calls of names are counted: names are many. No service can be called so. */
const namesService = '(names)'
const nameRule = /^[\w.:/-]{1,256}$/
const methodsMax = 256
/** Calls of one name at a time. */
const concurrency = 1_000

export class Names {
  private readonly world: NamesWorld
  private readonly own = new Map<string, Own>()
  /** Names that the store is being asked to hold or to let go: until it answers they are nobody's to register here. */
  private readonly asked = new Set<string>()
  private readonly refs = new Map<string, Ref | undefined>()
  private readonly watchers = new Map<string, Set<(holder: NameRef | undefined) => void>>()

  constructor(world: NamesWorld) {
    this.world = world
    world.rows.registry.onChange(nameKind, (key) => this.changed(key))
  }

  /** Names that this node holds. */
  get held(): number {
    return this.own.size
  }

  readonly api: NamesApi = {
    register: (name, handle, options) => this.register(name, handle, options ?? {}),
    unregister: (name) => this.unregister(name),
    whereis: (name, options) =>
      this.refOf(options?.nodeId === undefined ? name : `${name}@${options.nodeId}`),
    list: () =>
      [...this.world.rows.registry.keys(nameKind)].sort().flatMap((key) => this.refOf(key)?.view ?? []),
    watch: (name, onChange) => this.watch(name, onChange),
  }

  /** What the store was asked to hold for us rests on the lease. */
  leaseLost(): void {
    for (const own of [...this.own.values()])
      if (own.kind === 'store') this.lose(own, 'the lease of this node was lost', undefined)
  }

  private async register(name: string, handle: NameHandle, options: RegisterOptions): Promise<void> {
    const { kind = 'unique' } = options
    if (typeof name !== 'string' || !nameRule.test(name))
      throw invalid('name', String(name).slice(0, 300), '1 to 256 characters of A-Za-z0-9 and _.:/-')
    if (!nameKinds.includes(kind)) throw invalid('kind', String(kind), nameKinds.join(', '))
    if (typeof handle !== 'object' || handle === null)
      throw invalid('handle', handle === null ? 'null' : typeof handle, 'an object with functions')
    const methods = methodsOf(handle)
    if (methods.length > methodsMax)
      throw invalid('handle', `an object with ${methods.length} functions`, `at most ${methodsMax}`)
    const key = kind === 'node' ? `${name}@${this.world.fabric.nodeId}` : name
    if (this.own.has(key) || this.asked.has(key)) throw this.taken(name, this.world.fabric.nodeId)
    this.refuseTaken(key, kind)
    const { lease, rev } =
      kind === 'store' ? await this.atStore(key, () => this.claim(name)) : { lease: null, rev: 0 }
    // While the store answered the lease may have gone.
    if (lease !== null && this.world.currentLease() !== lease) throw this.noLease(name)
    const slot = this.world.provider.add({
      title: `name ${name}`,
      isStream: false,
      gate: new Gate(concurrency),
      handler: (call: unknown) => this.invoke(name, handle, methods, lease, call),
    })
    const own: Own = { name: key, kind, slot, lease, options, isHeld: false }
    this.own.set(key, own)
    try {
      this.world.rows.put(nameKind, key, [
        kind,
        slot,
        this.world.fabric.clock.now(),
        methods,
        rev,
      ] satisfies NameRow)
    } catch (error) {
      this.own.delete(key)
      this.world.provider.remove(slot)
      if (lease !== null) await this.release(own)
      throw error
    }
  }

  private refuseTaken(key: string, kind: NameKind): void {
    const holder = this.refOf(key)
    // What the store holds the store knows best.
    const isShared = (kind === 'well_known' || kind === 'store') && holder?.kind === kind
    if (holder === undefined || isShared) return
    throw this.taken(key, holder.nodeId)
  }

  private async atStore<T>(name: string, ask: () => Promise<T>): Promise<T> {
    this.asked.add(name)
    try {
      return await ask()
    } finally {
      this.asked.delete(name)
    }
  }

  /** In the store, under our lease: nobody else can have it as long as that lives. */
  private async claim(name: string): Promise<{ readonly lease: LeaseId; readonly rev: number }> {
    const lease = this.world.currentLease()
    if (lease === null) throw this.noLease(name)
    const { nodeId, bootId } = this.world.fabric
    const key = storePrefix + name
    const value = jsonEncode({ node_id: nodeId, boot_id: bootId })
    const put = { type: 'put', key, value, lease } as const
    const made = await this.world.transact({
      if: [{ key, target: 'version', op: '=', value: 0 }],
      then: [put],
      else: [{ type: 'get', key }],
    })
    if (made.ok) return { lease, rev: Number(made.rev) }
    const found = made.results[0]?.kv
    const holder = found === undefined || found === null ? undefined : holderOf(found.value)
    // Of an earlier boot of this node, which cannot live any more; or of this one, whose earlier claim or release got no answer.
    if (found === undefined || found === null || holder?.node_id !== nodeId)
      throw this.taken(name, holder?.node_id)
    const again = await this.world.transact({
      if: [{ key, target: 'modRev', op: '=', value: found.modRev }],
      then: [put],
    })
    if (!again.ok) throw this.taken(name, undefined)
    return { lease, rev: Number(again.rev) }
  }

  private async unregister(name: string): Promise<void> {
    const { nodeId } = this.world.fabric
    const own = this.own.get(name) ?? this.own.get(`${name}@${nodeId}`)
    if (own === undefined)
      throw new SkeinError('not_found', `this node has not registered "${name}"`, { details: { name } })
    this.drop(own)
    if (own.lease !== null) await this.atStore(own.name, () => this.release(own))
  }

  private async release({ name, lease }: Own): Promise<void> {
    const key = storePrefix + name
    await this.world.transact({
      if: [{ key, target: 'lease', op: '=', value: lease }],
      then: [{ type: 'delete', key }],
    })
  }

  private drop(own: Own): void {
    this.own.delete(own.name)
    this.world.provider.remove(own.slot)
    this.world.rows.delete(nameKind, own.name)
  }

  private lose(own: Own, reason: string, winner: NodeId | undefined): void {
    this.drop(own)
    this.world.fabric.log('warn', 'name.lost', { name: own.name, reason, winner })
    own.options.onLost?.(reason, winner)
  }

  private changed(key: string): void {
    const before = this.refs.get(key)
    this.refs.delete(key)
    const now = this.refOf(key)
    const own = this.own.get(key)
    if (own !== undefined && now !== undefined) this.settle(own, now)
    if (before?.isSame(now) === true) return
    for (const watcher of [...(this.watchers.get(key) ?? [])]) watcher(this.refOf(key))
  }

  /** After any change: is what this node registered still its own? */
  private settle(own: Own, holder: Ref): void {
    const { nodeId } = this.world.fabric
    const wasHeld = own.isHeld
    own.isHeld = holder.nodeId === nodeId
    if (own.isHeld) {
      if (!wasHeld) own.options.onHeld?.()
      return
    }
    const reason =
      holder.kind === 'store' ? 'it is registered through the store' : 'an earlier registration holds it'
    if (own.kind !== 'well_known') this.lose(own, reason, holder.nodeId)
    else if (wasHeld) own.options.onLost?.(reason, holder.nodeId)
  }

  private refOf(key: string): Ref | undefined {
    const known = this.refs.get(key)
    if (known !== undefined) return known
    const [holder, ...others] = standing(this.world.rows.registry.rows(nameKind, key))
    if (holder === undefined) return undefined
    const ref = new Ref(key, holder, others, this.world.caller, () => this.refOf(key))
    this.refs.set(key, ref)
    return ref
  }

  private watch(name: string, onChange: (holder: NameRef | undefined) => void): () => void {
    const set = this.watchers.get(name) ?? new Set()
    set.add(onChange)
    this.watchers.set(name, set)
    onChange(this.refOf(name))
    return () => {
      set.delete(onChange)
      if (set.size === 0 && this.watchers.get(name) === set) this.watchers.delete(name)
    }
  }

  private invoke(
    name: string,
    handle: NameHandle,
    methods: readonly string[],
    lease: LeaseId | null,
    call: unknown,
  ): unknown {
    if (lease !== null && this.world.currentLease() !== lease)
      throw new SkeinError('unavailable', `name "${name}": its node lost its lease`, { retryable: true })
    if (!Array.isArray(call) || typeof call[0] !== 'string' || !Array.isArray(call[1]))
      throw new SkeinError('protocol_violation', 'a malformed call of a name')
    const [method, args] = call as [string, unknown[]]
    if (!methods.includes(method))
      throw new SkeinError(
        'not_found',
        `"${name}" has no method "${method}"; it has ${methods.join(', ') || 'none'}`,
        {
          details: { name, method, allowed: methods },
        },
      )
    return (handle as Record<string, (...args: unknown[]) => unknown>)[method]?.(...args)
  }

  private noLease(name: string): SkeinError {
    return new SkeinError('unavailable', `name "${name}": this node holds no lease`, { retryable: true })
  }

  private taken(name: string, holder: NodeId | undefined): SkeinError {
    const by = holder === undefined ? 'another node' : holder
    return new SkeinError('conflict', `name "${name}" is held by ${by}`, {
      details: { name, ...(holder === undefined ? {} : { node_id: holder }) },
    })
  }
}

class Ref implements NameRef {
  readonly name: string
  readonly nodeId: NodeId
  readonly kind: NameKind
  readonly registeredAt: string
  readonly methods: readonly string[]
  readonly successors: readonly NodeId[]
  private readonly caller: Caller
  private readonly now: () => Ref | undefined
  private readonly choice: Choice

  constructor(
    name: string,
    holder: Registration,
    others: readonly Registration[],
    caller: Caller,
    now: () => Ref | undefined,
  ) {
    this.name = name
    this.nodeId = holder.nodeId
    this.kind = holder.kind
    this.registeredAt = holder.registeredAt
    this.methods = holder.methods
    this.successors = holder.kind === 'well_known' ? others.map((o) => o.nodeId) : []
    this.caller = caller
    this.now = now
    const { nodeId, bootId, slot } = holder
    const instance: Instance = {
      nodeId,
      bootId,
      version: '',
      methods: new Map(),
      breaker: new Breaker(),
      inFlight: 0,
    }
    this.choice = { instance, method: { slot, isIdempotent: false, isStream: false } }
  }

  get view(): NameView {
    const { name, nodeId, kind, registeredAt, methods, successors } = this
    return { name, nodeId, kind, registeredAt, methods, successors }
  }

  isSame(other: Ref | undefined): boolean {
    return (
      other !== undefined &&
      other.nodeId === this.nodeId &&
      other.choice.instance.bootId === this.choice.instance.bootId &&
      other.choice.method.slot === this.choice.method.slot
    )
  }

  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    return this.callWith<T>({}, method, ...args)
  }

  callWith<T>(
    options: Pick<CallOptions, 'timeoutMs' | 'signal' | 'retries' | 'idempotent'>,
    method: string,
    ...args: readonly unknown[]
  ): Promise<T> {
    return this.caller.call(
      namesService,
      `${this.name}.${method}`,
      () => this.current(),
      [method, args],
      options,
    ) as Promise<T>
  }

  /** Whoever holds it by now: another may have succeeded. */
  private current(): Choice {
    const holder = this.now()
    if (holder === undefined)
      throw new SkeinError('unavailable', `nobody holds the name "${this.name}" any more`, {
        retryable: true,
        details: { name: this.name },
      })
    return holder.choice
  }
}

/** Functions of the object and of its classes, those that begin with an underscore left out. */
function methodsOf(handle: NameHandle): string[] {
  const found = new Set<string>()
  for (let at: object | null = handle; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at)))
      if (typeof value === 'function' && name !== 'constructor' && !name.startsWith('_')) found.add(name)
  return [...found].sort()
}

/** Undefined for what was not written by us. */
function holderOf(value: Uint8Array): { node_id?: string; boot_id?: string } | undefined {
  const holder: unknown = jsonDecode(value)
  return typeof holder === 'object' && holder !== null ? holder : undefined
}

function invalid(field: string, given: string, allowed: string): SkeinError {
  return new SkeinError('invalid_argument', `${field} "${given}": allowed is ${allowed}`, {
    details: { field, given, allowed },
  })
}
