/** Who offers which service, as the registry has it, and whom to ask next. */
import { Balancer } from '../../core/balancing/balancer.js'
import type { Candidate, Work } from '../../core/balancing/candidate.js'
import type { NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { Random } from '../../core/kernel/random.js'
import type { Registry, Row } from '../../core/registry/registry.js'
import { Breaker } from '../../core/services/breaker.js'
import { compareVersions, satisfies } from '../../core/services/version.js'
import type { Fabric } from '../fabric.js'
import { monotonicMs } from '../host-clock.js'
import type { CallOptions, ServiceView } from './api-types.js'

export const serviceKind = 'service'

/** In the registry: per version its methods with slot and what may be done with them. */
export type ServiceRow = readonly (readonly [
  version: string,
  methods: Readonly<Record<string, readonly [slot: number, isIdempotent: boolean, isStream: boolean]>>,
])[]

export interface Method {
  readonly slot: number
  readonly isIdempotent: boolean
  readonly isStream: boolean
}

/** One version of a service on one node. */
export interface Instance {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly version: string
  readonly methods: ReadonlyMap<string, Method>
  readonly breaker: Breaker
  /** Calls of this node that are under way there. */
  inFlight: number
}

export interface Choice {
  readonly instance: Instance
  readonly method: Method
}

type Wish = Pick<CallOptions, 'version' | 'strategy' | 'key' | 'prefer' | 'nodeId'>

/** Calls at a time that a node counts as full at, for the strategies that go by how full nodes are. */
const fullAt = 1_000
const noInstances: readonly Instance[] = []

export class Instances {
  private readonly fabric: Fabric
  private readonly registry: Registry
  private readonly candidates: () => readonly Candidate[]
  private readonly balancer: Balancer
  private readonly byService = new Map<string, readonly Instance[]>()
  private readonly listeners = new Map<string, Set<() => void>>()

  constructor(fabric: Fabric, registry: Registry, candidates: () => readonly Candidate[]) {
    this.fabric = fabric
    this.registry = registry
    this.candidates = candidates
    this.balancer = new Balancer(new Random(Math.floor(Math.random() * 2 ** 32)))
    registry.onChange(serviceKind, (service) => this.changed(service))
  }

  of(service: string): readonly Instance[] {
    return this.byService.get(service) ?? noInstances
  }

  /**
   * Leaves out those that were `tried`, and those whose circuit is open, as long as others are left. Throws `not_found` when nobody offers the service
   * or the method, `unavailable` when all who do cannot be asked.
   */
  choose(service: string, method: string, wish: Wish, tried: readonly Instance[]): Choice {
    const offered = this.of(service)
    let fit = offered
    if (offered.length > 1 || wish.version !== undefined || wish.nodeId !== undefined)
      fit = this.wished(offered, wish)
    if (fit.length === 0) throw this.nobody(service, wish, offered)
    if (fit.length > 1 || tried.length > 0) fit = this.askable(fit, tried)
    const nowMs = monotonicMs()
    if (fit.length === 0 || (fit.length === 1 && !(fit[0] as Instance).breaker.allows(nowMs)))
      throw new SkeinError('unavailable', `service "${service}": no instance can be asked now`, {
        retryable: true,
        details: { service, instances: offered.length },
      })
    const instance = fit.length === 1 ? (fit[0] as Instance) : this.pick(fit, service, wish)
    const found = instance.methods.get(method)
    if (found === undefined)
      throw new SkeinError(
        'not_found',
        `service "${service}" ${instance.version} has no method "${method}"; it has ${[...instance.methods.keys()].join(', ')}`,
        { details: { service, method, allowed: [...instance.methods.keys()] } },
      )
    return { instance, method: found }
  }

  /** Told when somebody began or ceased to offer it. */
  onChange(service: string, listener: () => void): () => void {
    const set = this.listeners.get(service) ?? new Set()
    set.add(listener)
    this.listeners.set(service, set)
    return () => {
      set.delete(listener)
      if (set.size === 0) this.listeners.delete(service)
    }
  }

  list(): ServiceView[] {
    return [...this.byService.keys()].sort().map((name) => this.view(name) as ServiceView)
  }

  /** Circuits that are not closed. */
  breakers(): { readonly open: number; readonly half_open: number } {
    const nowMs = monotonicMs()
    const counts = { open: 0, half_open: 0 }
    for (const instances of this.byService.values())
      for (const { breaker } of instances) {
        const state = breaker.stateAt(nowMs)
        if (state !== 'closed') counts[state]++
      }
    return counts
  }

  view(service: string): ServiceView | undefined {
    const instances = this.byService.get(service)
    if (instances === undefined) return undefined
    const nowMs = monotonicMs()
    return {
      name: service,
      instances: instances.map((i) => ({
        nodeId: i.nodeId,
        version: i.version,
        zone: i.nodeId === this.fabric.nodeId ? this.fabric.zone : (this.fabric.peer(i.nodeId)?.zone ?? ''),
        methods: [...i.methods].map(([name, m]) => ({
          name,
          idempotent: m.isIdempotent,
          stream: m.isStream,
        })),
        inFlight: i.inFlight,
        circuit: i.breaker.stateAt(nowMs),
        healthy: this.isFit(i),
      })),
    }
  }

  private changed(service: string): void {
    const before = this.of(service)
    const now = this.registry.rows(serviceKind, service).flatMap((row) => instancesOf(row, before))
    if (now.length === 0) this.byService.delete(service)
    else this.byService.set(service, now)
    for (const listener of [...(this.listeners.get(service) ?? [])]) listener()
  }

  /** Of the version that is asked for, or the highest there is; on the node that is asked for. */
  private wished(offered: readonly Instance[], { version, nodeId }: Wish): readonly Instance[] {
    let fit = nodeId === undefined ? offered : offered.filter((i) => i.nodeId === nodeId)
    const [first] = fit
    if (version !== undefined) fit = fit.filter((i) => satisfies(i.version, version))
    else if (first !== undefined && fit.some((i) => i.version !== first.version)) {
      const highest = fit.reduce((a, b) => (compareVersions(a.version, b.version) >= 0 ? a : b)).version
      fit = fit.filter((i) => i.version === highest)
    }
    return fit
  }

  private askable(fit: readonly Instance[], tried: readonly Instance[]): readonly Instance[] {
    const nowMs = monotonicMs()
    const open = fit.filter((i) => i.breaker.allows(nowMs))
    const fresh = tried.length === 0 ? open : open.filter((i) => !tried.includes(i))
    const candidates = fresh.length > 0 ? fresh : open
    const well = candidates.filter((i) => this.isFit(i))
    return well.length > 0 ? well : candidates
  }

  private isFit({ nodeId }: Instance): boolean {
    return nodeId === this.fabric.nodeId || this.fabric.peer(nodeId)?.isUnfit === false
  }

  private pick(fit: readonly Instance[], service: string, wish: Wish): Instance {
    const near = this.nearest(fit, wish.prefer ?? 'local')
    if (near.length === 1) return near[0] as Instance
    const strategy = wish.strategy ?? (wish.key === undefined ? undefined : 'consistent')
    if (strategy === undefined) return lessBusyOfTwo(near)
    const byNode = new Map(near.map((i) => [i.nodeId, i]))
    const { zone, region, nodeId } = this.fabric
    const work: Work = { name: wish.key ?? service, origin: { nodeId, zone, region } }
    const candidates = this.candidates()
      .filter((c) => byNode.has(c.nodeId))
      .map((c) => ({
        ...c,
        refusal: '',
        agents: byNode.get(c.nodeId)?.inFlight ?? 0,
        maxAgents: fullAt,
        trust: 1,
      }))
    const picked = this.balancer.pick(strategy, candidates, work)
    return (picked && byNode.get(picked.nodeId)) ?? lessBusyOfTwo(near)
  }

  private nearest(fit: readonly Instance[], prefer: NonNullable<Wish['prefer']>): readonly Instance[] {
    if (prefer === 'any') return fit
    const { nodeId, zone, region } = this.fabric
    if (prefer === 'local') {
      const here = fit.filter((i) => i.nodeId === nodeId)
      return here.length > 0 ? here : fit
    }
    const within = (isNear: (place: { zone: string; region: string }) => boolean): readonly Instance[] =>
      fit.filter((i) => {
        const place = i.nodeId === nodeId ? this.fabric : this.fabric.peer(i.nodeId)
        return place !== undefined && isNear(place)
      })
    const sameZone =
      prefer === 'zone' && zone !== '' ? within((p) => p.zone === zone && p.region === region) : []
    if (sameZone.length > 0) return sameZone
    const sameRegion = region === '' ? [] : within((p) => p.region === region)
    return sameRegion.length > 0 ? sameRegion : fit
  }

  private nobody(service: string, { version, nodeId }: Wish, offered: readonly Instance[]): SkeinError {
    const where = nodeId === undefined ? '' : ` on ${nodeId}`
    const which = version === undefined ? '' : ` version ${version}`
    const others = [...new Set(offered.map((i) => i.version))].sort(compareVersions)
    const there = others.length === 0 ? '' : `; versions ${others.join(', ')} are offered`
    return new SkeinError('not_found', `nobody offers service "${service}"${which}${where}${there}`, {
      details: { service, ...(version === undefined ? {} : { version, offered: others }) },
    })
  }
}

/** What is known of an instance stays known as long as it is the same one. */
function instancesOf({ nodeId, bootId, value }: Row, before: readonly Instance[]): Instance[] {
  if (!isServiceRow(value)) return []
  return value.map(([version, methods]) => {
    const old = before.find((i) => i.nodeId === nodeId && i.bootId === bootId && i.version === version)
    return {
      nodeId,
      bootId,
      version,
      methods: new Map(
        Object.entries(methods).map(([name, [slot, isIdempotent, isStream]]) => [
          name,
          { slot, isIdempotent, isStream },
        ]),
      ),
      breaker: old?.breaker ?? new Breaker(),
      inFlight: old?.inFlight ?? 0,
    }
  })
}

/** Rows come from other nodes, perhaps of another build. */
function isServiceRow(value: unknown): value is ServiceRow {
  return (
    Array.isArray(value) &&
    value.every(
      (v) =>
        Array.isArray(v) &&
        typeof v[0] === 'string' &&
        typeof v[1] === 'object' &&
        v[1] !== null &&
        Object.values(v[1]).every((m) => Array.isArray(m) && Number.isSafeInteger(m[0])),
    )
  )
}

function lessBusyOfTwo(fit: readonly Instance[]): Instance {
  const first = Math.floor(Math.random() * fit.length)
  const second = (first + 1 + Math.floor(Math.random() * (fit.length - 1))) % fit.length
  const a = fit[first] as Instance
  const b = fit[second] as Instance
  return b.inFlight < a.inFlight ? b : a
}
