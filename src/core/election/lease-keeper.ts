/**
 * Holds this process's one lease: asks for it, registers under it, renews it, and knows first when it is gone.
 *
 * The deadline counts from before the renewal was sent, at 0.9 of the TTL, on the monotonic clock: our own belief always ends before the
 * store's. Past it nothing revives the lease: the wiring stops everything that rests on it, then tells us (`relinquished`), and only
 * then the old lease is revoked and a new one taken. If wall time outruns monotonic time, the host was suspended and the lease counts as lost.
 */
import { asBootNumber, type BootId, type BootNumber, type LeaseId, type NodeId } from '../kernel/brand.js'
import { Deadlines } from '../kernel/deadlines.js'
import { formatLevels } from '../kernel/format.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import {
  bootKey,
  encodeRegistration,
  evictionKey,
  type Registration,
  registrationKey,
} from '../kernel/registration.js'
import type { KeyValue, StoreEffect, StoreReply, StoreRequest } from '../kernel/store-types.js'
import { jsonDecode, jsonEncode } from '../kernel/text.js'

export interface LeaseOptions {
  readonly ttlMs: number
  readonly renewIntervalMs: number
  /** Wall time may run ahead of monotonic time by this much between renewals, ms. */
  readonly wallGapMsMax: number
}

export type LeaseInput =
  | { readonly type: 'open' }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  | { readonly type: 'deadline' }
  /** The registration key of our node id went away: worth another try. */
  | { readonly type: 'registration_gone' }
  | { readonly type: 'death_proof'; readonly lease: LeaseId; readonly result: 'dead' | 'alive' | 'unknown' }
  /** Everything that rested on the lost lease has ended. */
  | { readonly type: 'relinquished' }
  | { readonly type: 'close' }

export type LeaseEffect =
  | StoreEffect
  | { readonly type: 'lease_granted'; readonly lease: LeaseId; readonly boot: BootNumber }
  | { readonly type: 'lease_deadline'; readonly lease: LeaseId; readonly deadlineMs: number }
  | { readonly type: 'lease_lost'; readonly lease: LeaseId; readonly reason: string }
  /** Our node id is registered by another boot: is that process dead? */
  | {
      readonly type: 'prove_death'
      readonly nodeId: NodeId
      readonly lease: LeaseId
      readonly locator: string
    }
  /** Its process is dead: end it before its time. Our registration is tried again when it is gone. */
  | { readonly type: 'revoke_dead'; readonly lease: LeaseId }
  | { readonly type: 'lease_closed' }
  /** A later boot of our node id registered: this process must end. */
  | { readonly type: 'id_taken'; readonly detail: string }
  | Note

export type LeaseState =
  | 'idle'
  | 'granting'
  | 'registering'
  | 'blocked'
  | 'held'
  | 'lost'
  | 'revoking'
  | 'closing'
  | 'closed'

export interface Identity {
  readonly nodeId: NodeId
  readonly bootId: BootId
  readonly lifeLock: string
  readonly controlAddress: string
  readonly role: string
  readonly zone: string
}

export class LeaseKeeper {
  state: LeaseState = 'idle'
  lease: LeaseId | null = null
  boot: BootNumber = asBootNumber(0)
  deadlineMs = 0
  /** Why we have no lease, for people. */
  blockedBy = ''
  private ttlMs: number
  private readonly identity: Identity
  private readonly options: LeaseOptions
  private readonly deadlines = new Deadlines<'renew' | 'lapse' | 'retry'>()
  private renewSent: Instant | null = null
  private lastRenewal: Instant | null = null
  private grantSent: Instant | null = null
  private round = 0
  private closing = false
  private out: LeaseEffect[] = []

  constructor(identity: Identity, options: LeaseOptions) {
    this.identity = identity
    this.options = options
    this.ttlMs = options.ttlMs
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  /** The only question that matters, asked with a fresh reading of the clock. */
  isValid(nowMs: number): boolean {
    return this.state === 'held' && nowMs < this.deadlineMs
  }

  /** When, without another renewal, what takes time to stop has to begin: 0.6 of the time to live. */
  get fadeAtMs(): number {
    return this.state === 'held' ? this.deadlineMs - this.ttlMs * 0.3 : 0
  }

  step(at: Instant, input: LeaseInput): readonly LeaseEffect[] {
    this.out = []
    if (this.state === 'held') this.checkStillHeld(at)
    switch (input.type) {
      case 'open':
        if (this.state === 'idle') this.grant(at)
        break
      case 'store_done':
        this.storeDone(at, input.tag, input.reply)
        break
      case 'registration_gone':
        if (this.state === 'blocked') this.deadlines.set('retry', at.nowMs)
        break
      case 'death_proof':
        if (this.state !== 'blocked') break
        if (input.result === 'dead') this.out.push({ type: 'revoke_dead', lease: input.lease })
        // Proved to run: waiting would only hide that two nodes were given one name.
        else if (input.result === 'alive' && this.boot === 0)
          this.out.push({ type: 'id_taken', detail: this.blockedBy })
        break
      case 'relinquished':
        if (this.state === 'lost') this.revoke()
        break
      case 'close':
        this.close()
        break
      case 'deadline':
        break
    }
    for (const name of this.deadlines.due(at.nowMs)) {
      if (name === 'renew') this.renew(at)
      else if (name === 'retry') this.retry(at)
    }
    return this.out
  }

  private checkStillHeld(at: Instant): void {
    if (at.nowMs >= this.deadlineMs) {
      this.lose(`not renewed for ${Math.round(at.nowMs - (this.lastRenewal?.nowMs ?? at.nowMs))} ms`)
      return
    }
    const since = this.lastRenewal
    if (since === null) return
    const gapMs = at.wallMs - since.wallMs - (at.nowMs - since.nowMs)
    if (gapMs > this.options.wallGapMsMax)
      this.lose(`the host stood still: wall time ran ${Math.round(gapMs)} ms ahead since the last renewal`)
  }

  private grant(at: Instant): void {
    this.state = 'granting'
    this.round++
    this.grantSent = at
    this.ask('lease.grant', { op: 'lease_grant', ttlMs: this.options.ttlMs })
  }

  private register(): void {
    this.state = 'registering'
    const { nodeId, bootId } = this.identity
    const lease = this.lease as LeaseId
    const registration: Registration = {
      ...this.identity,
      boot: this.boot,
      lease,
      formatMax: formatLevels.max,
    }
    const first = this.boot === 0
    this.ask('lease.register', {
      op: 'txn',
      txn: {
        if: [
          { key: registrationKey(nodeId), target: 'createRev', op: '=', value: 0n },
          // Only the last boot of a node id may register again.
          ...(first
            ? []
            : [
                {
                  key: bootKey(nodeId),
                  target: 'modRev' as const,
                  op: '=' as const,
                  value: BigInt(this.boot),
                },
              ]),
        ],
        then: [
          {
            type: 'put',
            key: registrationKey(nodeId),
            value: jsonEncode(encodeRegistration(registration)),
            lease,
          },
          ...(first
            ? [{ type: 'put' as const, key: bootKey(nodeId), value: jsonEncode({ boot_id: bootId }) }]
            : []),
        ],
        else: [
          { type: 'get', key: registrationKey(nodeId) },
          { type: 'get', key: bootKey(nodeId) },
        ],
      },
    })
  }

  private renew(at: Instant): void {
    if (this.state !== 'held' || this.lease === null) return
    this.deadlines.set('renew', at.nowMs + this.options.renewIntervalMs)
    if (this.renewSent !== null) return
    this.renewSent = at
    this.ask('lease.renew', { op: 'lease_keep_alive', lease: this.lease, unlessKey: evictionKey(this.lease) })
  }

  private storeDone(at: Instant, fullTag: string, reply: StoreReply): void {
    const [tag, round] = fullTag.split('#')
    if (Number(round) !== this.round) return
    switch (tag) {
      case 'lease.grant':
        if (this.state !== 'granting') return
        if (!reply.ok || reply.op !== 'lease_grant') {
          this.later(at, reply.ok ? 'unexpected reply' : `the store answers ${reply.code}: ${reply.detail}`)
          return
        }
        this.lease = reply.lease
        this.ttlMs = reply.ttlMs
        if (this.closing) this.close()
        else this.register()
        return
      case 'lease.register':
        this.registered(at, reply)
        return
      case 'lease.renew':
        this.renewed(at, reply)
        return
      case 'lease.revoke_dead':
        this.deadlines.set('retry', at.nowMs)
        return
      case 'lease.revoke':
        if (!reply.ok && reply.code !== 'lease_not_found') {
          this.deadlines.set('retry', at.nowMs + 300)
          return
        }
        if (this.closing) {
          this.state = 'closed'
          this.out.push({ type: 'lease_closed' })
        } else this.grant(at)
    }
  }

  private registered(at: Instant, reply: StoreReply): void {
    if (this.state !== 'registering') return
    if (!reply.ok || reply.op !== 'txn') {
      // Unknown outcomes included: the same transaction again tells.
      this.deadlines.set('retry', at.nowMs + 100)
      return
    }
    if (reply.result.ok) {
      this.hold(at, this.boot === 0 ? asBootNumber(Number(reply.result.rev)) : this.boot)
      return
    }
    const [found, boot] = reply.result.results.map((r) => r.kv ?? null)
    if (found?.lease === this.lease && boot) {
      this.hold(at, this.boot === 0 ? asBootNumber(Number(boot.modRev)) : this.boot)
      return
    }
    if (this.boot !== 0 && boot && boot.modRev !== BigInt(this.boot)) {
      this.out.push({ type: 'id_taken', detail: `another process registered as ${this.identity.nodeId}` })
      return
    }
    this.blocked(at, found ?? null)
  }

  private blocked(at: Instant, found: KeyValue | null): void {
    this.state = 'blocked'
    this.deadlines.set('retry', at.nowMs + 500)
    if (found === null || found.lease === null) return
    const other = jsonDecode(found.value) as Record<string, unknown> | undefined
    if (other?.boot_id === this.identity.bootId) {
      // Our own earlier lease: all that rested on it has ended before we came here.
      this.ask('lease.revoke_dead', { op: 'lease_revoke', lease: found.lease })
      return
    }
    const detail = `node id "${this.identity.nodeId}" is registered by another running process (boot ${String(other?.boot_id)}); stop it or choose another --node-id`
    if (this.blockedBy === '') this.out.push(note('warn', 'lease.blocked', { detail }))
    this.blockedBy = detail
    const locator = String(other?.life_lock ?? '')
    if (locator !== '')
      this.out.push({ type: 'prove_death', nodeId: this.identity.nodeId, lease: found.lease, locator })
  }

  private hold(at: Instant, boot: BootNumber): void {
    this.boot = boot
    this.state = 'held'
    this.blockedBy = ''
    this.deadlines.clear('retry')
    this.lastRenewal = this.grantSent as Instant
    this.deadlineMs = this.lastRenewal.nowMs + this.ttlMs * 0.9
    this.renewSent = null
    this.deadlines.set('lapse', this.deadlineMs)
    this.deadlines.set('renew', at.nowMs)
    this.out.push({ type: 'lease_granted', lease: this.lease as LeaseId, boot })
    this.out.push({ type: 'lease_deadline', lease: this.lease as LeaseId, deadlineMs: this.deadlineMs })
    if (at.nowMs >= this.deadlineMs) this.lose('registration took longer than the lease')
  }

  private renewed(at: Instant, reply: StoreReply): void {
    const sent = this.renewSent
    this.renewSent = null
    if (this.state !== 'held' || sent === null) return
    if (reply.ok && reply.op === 'lease_keep_alive') {
      this.lastRenewal = sent
      this.deadlineMs = sent.nowMs + reply.ttlMs * 0.9
      this.deadlines.set('lapse', this.deadlineMs)
      this.out.push({ type: 'lease_deadline', lease: this.lease as LeaseId, deadlineMs: this.deadlineMs })
      return
    }
    if (reply.ok) return
    if (reply.code === 'lease_not_found') this.lose('the store ended it')
    else if (reply.code === 'fenced') this.lose('evicted by the leader')
    else this.deadlines.set('renew', at.nowMs + Math.min(200, this.options.renewIntervalMs))
  }

  private lose(reason: string): void {
    this.state = 'lost'
    this.deadlineMs = 0
    this.renewSent = null
    this.deadlines.clear('renew')
    this.deadlines.clear('lapse')
    this.out.push({ type: 'lease_lost', lease: this.lease as LeaseId, reason })
  }

  private revoke(): void {
    this.state = this.closing ? 'closing' : 'revoking'
    this.round++
    this.ask('lease.revoke', { op: 'lease_revoke', lease: this.lease as LeaseId })
  }

  private retry(at: Instant): void {
    if (this.state === 'revoking' || this.state === 'closing') this.revoke()
    else if (this.state === 'granting') this.grant(at)
    else if (this.state === 'blocked' || this.state === 'registering') {
      // A lease granted long ago may have lapsed while we waited for our id.
      if (this.lease === null || at.nowMs - (this.grantSent?.nowMs ?? 0) > this.ttlMs / 2) this.grant(at)
      else this.register()
    }
  }

  private later(at: Instant, why: string): void {
    this.blockedBy = why
    this.deadlines.set('retry', at.nowMs + 250)
  }

  private close(): void {
    this.closing = true
    if (this.state === 'closed' || this.state === 'closing') return
    if (this.lease === null) {
      this.state = 'closed'
      this.out.push({ type: 'lease_closed' })
      return
    }
    this.deadlineMs = 0
    this.deadlines.clear('renew')
    this.revoke()
  }

  private ask(tag: string, request: StoreRequest): void {
    this.out.push({ type: 'store', tag: `${tag}#${this.round}`, request })
  }
}
