/**
 * `--store etcd+managed:`: a store on an etcd that the nodes run themselves. This file brings the parts together: find or found the
 * cluster (`founding.ts`), run the own member (`member.ts`, `process.ts`), hand out seats (`steward.ts`), copy the data
 * (`snapshots.ts`). The store itself is the one for any etcd; it is given by who composes drivers, for drivers do not see one another.
 *
 * A node without the etcd program takes part as a client. The design, and what is not safe about it, is in docs/ETCD.md.
 */
import { randomBytes } from 'node:crypto'
import type { LeaseId, Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, Transaction, TransactionResult, WatchBatch } from '../../core/kernel/store-types.js'
import type { EtcdClient } from '../../engines/etcd/client.js'
import type { Member } from '../../engines/etcd/codec.js'
import type { EtcdTarget } from '../../engines/etcd/url.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import type { CallOptions, Store, StoreHealth, StoreInfo } from '../../ports/store.js'
import { type Certificates, makeCertificates, serverName } from './certificates.js'
import { Founding } from './founding.js'
import { Home } from './home.js'
import { listenHost, makeMember, memberUrls } from './member.js'
import { type EtcdProcess, findProgram } from './process.js'
import { Rendezvous } from './rendezvous.js'
import {
  etcdAddress,
  type ManagedSettings,
  type ManagedSetup,
  managedSettings,
  peerAddressOf,
  portOffsets,
} from './settings.js'
import { takeSnapshot } from './snapshots.js'
import type { Steward } from './steward.js'

/** A store on etcd that can be told of new servers. */
export interface FollowingStore extends Store {
  useEndpoints(addresses: readonly string[]): void
}

export interface ManagedOptions extends ManagedSetup {
  readonly makeStore: (target: EtcdTarget) => FollowingStore
  readonly onNote: (event: string, fields: Record<string, unknown>, level: 'info' | 'warn' | 'error') => void
}

const openTimeoutMsDefault = 60_000
const snapshotEveryMs = 3_600_000
const snapshotFirstMs = 300_000
const snapshotsKept = 8
/** A node that begins without peers and without data waits for such a call before it founds (`founding.ts`). */
const callEveryMs = 1000
const namespace = 'skein'
/** The colon keeps it out of every namespace. */
const nodesPrefix = 'skein-managed/:nodes/'

export class ManagedStore implements Store {
  readonly #settings: ManagedSettings
  readonly #options: ManagedOptions
  readonly #closing = new AbortController()
  #opening: Promise<void> | undefined
  #home!: Home
  #host = ''
  #binary: string | undefined
  #certificates: Certificates | undefined
  #founding!: Founding
  #rendezvous: Rendezvous | undefined
  #member: EtcdProcess | undefined
  #memberName = ''
  #store: FollowingStore | undefined
  #client: EtcdClient | undefined
  #steward: Steward | undefined
  #snapshotTimer: NodeJS.Timeout | undefined
  #callTimer: NodeJS.Timeout | undefined
  #endpoints: readonly string[] = []
  #stranger: SkeinError | undefined

  /** Throws `bad_config`. */
  constructor(options: ManagedOptions) {
    this.#options = options
    this.#settings = managedSettings(options)
  }

  get info(): StoreInfo {
    return this.#need().info
  }

  /**
   * Errors: `bad_config` (no etcd where one is needed), `unavailable` (no cluster found, and none may be founded: the message says who
   * was waited for), `port_in_use`, `data_dir_unusable`, and those of the store. Default deadline 60 s.
   */
  open(options: CallOptions = {}): Promise<void> {
    this.#opening ??= this.#open(options).catch(async (error: unknown) => {
      await this.#stop()
      throw error
    })
    return this.#opening
  }

  async get(key: string, options?: CallOptions): Promise<{ kv: KeyValue | null; rev: Revision }> {
    return this.#need().get(key, options)
  }

  async list(prefix: string, options?: CallOptions & { limit?: number; startAfter?: string }) {
    return this.#need().list(prefix, options)
  }

  async txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    return this.#need().txn(transaction, options)
  }

  async leaseGrant(ttlMs: number, options?: CallOptions): Promise<{ id: LeaseId; ttlMs: number }> {
    return this.#need().leaseGrant(ttlMs, options)
  }

  async leaseKeepAlive(
    id: LeaseId,
    options?: CallOptions & { unlessKey?: string },
  ): Promise<{ ttlMs: number }> {
    return this.#need().leaseKeepAlive(id, options)
  }

  async leaseRevoke(id: LeaseId, options?: CallOptions): Promise<void> {
    await this.#need().leaseRevoke(id, options)
  }

  watch(prefix: string, options: { fromRev?: Revision; signal: AbortSignal }): AsyncIterable<WatchBatch> {
    return this.#need().watch(prefix, options)
  }

  async compact(rev: Revision, options?: CallOptions): Promise<void> {
    await this.#need().compact(rev, options)
  }

  async health(options?: CallOptions): Promise<StoreHealth> {
    if (this.#stranger !== undefined) {
      return { ok: false, quorum: false, detail: this.#stranger.message }
    }
    const health = await this.#need().health(options)
    const trouble = this.#steward?.trouble
    return health.ok && trouble !== undefined ? { ...health, ok: false, detail: trouble } : health
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    await this.#opening?.catch(() => undefined)
    await this.#stop()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** The etcd process of this node, if it runs one. */
  get memberPid(): number | undefined {
    return this.#member?.pid
  }

  /** Members as last seen. */
  get members(): readonly Member[] {
    return this.#steward?.members ?? []
  }

  /** Copies the store into a file of the data directory now; resolves to its path. */
  async snapshot(): Promise<string> {
    const { address } = this.#settings
    const client = this.#client
    if (client === undefined || this.#member === undefined) {
      throw new SkeinError('unavailable', 'this node runs no etcd member to copy')
    }
    const { rev } = await this.#need().get('any')
    const endpoint = client.single(etcdAddress(address, 'client'))
    const { signal } = this.#closing
    return takeSnapshot(endpoint, this.#home.snapshots, String(rev), snapshotsKept, signal)
  }

  async #open(options: CallOptions): Promise<void> {
    const settings = this.#settings
    const deadlineMs = monotonicMs() + (options.timeoutMs ?? openTimeoutMsDefault)
    const signal = AbortSignal.any([this.#closing.signal, ...(options.signal ? [options.signal] : [])])
    this.#home = new Home(settings.home)
    this.#binary = this.#findBinary()
    this.#host = await listenHost(settings)
    this.#certificates = await this.#makeCertificates()
    const [{ EtcdClient, pause }, { Steward }] = await Promise.all([
      import('../../engines/etcd/client.js'),
      import('./steward.js'),
    ])
    await this.#meet((delayMs, until) => pause(delayMs, [until]))
    this.#endpoints = await this.#begin(deadlineMs, signal)
    const target: EtcdTarget = {
      endpoints: this.#endpoints,
      namespace,
      ...(this.#certificates === undefined ? {} : { tls: { ...this.#certificates, serverName } }),
    }
    this.#store = this.#options.makeStore(target)
    await this.#store.open({ signal, timeoutMs: Math.max(1, deadlineMs - monotonicMs()) })
    await this.#home.rememberEndpoints(this.#endpoints)
    this.#client = await EtcdClient.create({
      target,
      probe: { key: Buffer.from(nodesPrefix), countOnly: true },
    })
    this.#steward = new Steward(this.#stewardWorld(this.#client))
    this.#steward.start()
    this.#snapshotLater(snapshotFirstMs)
    this.#callTimer = setInterval(() => this.#callMembers(), callEveryMs)
  }

  #findBinary(): string | undefined {
    const binary = findProgram(this.#settings.binary ?? 'etcd')
    const missing =
      this.#settings.binary !== undefined
        ? `${this.#settings.binary} is no program`
        : 'this node keeps etcd data, but no etcd is installed'
    if (binary === undefined && (this.#settings.binary !== undefined || this.#home.hasData)) {
      throw new SkeinError('bad_config', `--store etcd+managed: ${missing}; install etcd-server`, {
        details: { field: 'store' },
      })
    }
    return binary
  }

  async #makeCertificates(): Promise<Certificates | undefined> {
    const { advertise, home, cookies } = this.#settings
    const hosts = [advertise.host.replace(/^\[|\]$/g, ''), this.#host]
    const made = await makeCertificates(`${home}/certificates`, cookies[0]!, hosts)
    if (made === undefined && !/^(127\.|::1$)/.test(this.#host)) {
      throw new SkeinError(
        'bad_config',
        '--store etcd+managed: needs the program openssl to protect etcd on a network; install openssl',
        { details: { field: 'store' } },
      )
    }
    return made
  }

  async #meet(pause: (delayMs: number, signal: AbortSignal) => Promise<void>): Promise<void> {
    const settings = this.#settings
    const rendezvous = new Rendezvous(settings.cookies, (question) => this.#founding.answer(question))
    this.#founding = new Founding({
      settings,
      home: this.#home,
      canFound: this.#binary !== undefined,
      ask: (address, question, signal) => rendezvous.ask(address, question, signal),
      pause,
      onStranger: (clusterId) => this.#onStranger(clusterId),
    })
    await rendezvous.listen(this.#host, settings.advertise.port + portOffsets.rendezvous)
    this.#rendezvous = rendezvous
  }

  /** Goes on with the data, else joins, else founds. Resolves to where the cluster is. */
  async #begin(deadlineMs: number, signal: AbortSignal): Promise<readonly string[]> {
    const { address } = this.#settings
    const own = etcdAddress(address, 'client')
    const seat = this.#home.seat
    if (this.#home.hasData && seat !== undefined) {
      this.#startMember(seat.name, [], false)
      return [...new Set([own, ...this.#home.endpoints])]
    }
    const found = await this.#founding.find(deadlineMs, signal)
    this.#memberName = (await this.#home.newSeat(address)).name
    if (found.type === 'join') return found.endpoints
    this.#options.onNote('etcd.founding', { address, name: this.#memberName }, 'info')
    this.#startMember(this.#memberName, [], true)
    return [own]
  }

  #startMember(name: string, others: readonly string[], isNew: boolean): void {
    const binary = this.#binary
    if (binary === undefined) return
    this.#memberName = name
    const { peerUrl } = memberUrls(this.#settings.address, this.#certificates !== undefined)
    const initialCluster = [...others, `${name}=${peerUrl}`]
    const token = `skein-${randomBytes(8).toString('hex')}`
    this.#member = makeMember(
      this.#settings,
      this.#home,
      this.#host,
      { binary, name, initialCluster, isNew, token },
      this.#certificates,
      (end) => this.#onMemberEnd(end),
    )
    this.#member.start()
    this.#options.onNote('etcd.started', { name, pid: this.#member.pid }, 'info')
  }

  /** Resolves to whether the process is to be started again. */
  async #onMemberEnd(end: { readonly code: string; readonly lastWords: string }): Promise<boolean> {
    const detail = end.lastWords.trimEnd().split('\n').at(-1) ?? ''
    this.#options.onNote('etcd.ended', { code: end.code, detail: detail.slice(0, 500) }, 'warn')
    const looksRemoved = end.code === '0' || end.lastWords.includes('removed')
    if (!looksRemoved || this.#steward === undefined) return true
    const members = await this.#steward.membersNow()
    if (members.some(({ name }) => name === this.#memberName)) return true
    this.#home.putAsideData()
    this.#member = undefined
    this.#memberName = (await this.#home.newSeat(this.#settings.address)).name
    this.#options.onNote('etcd.seat_lost', { next: this.#memberName }, 'warn')
    return false
  }

  #stewardWorld(client: EtcdClient): ConstructorParameters<typeof Steward>[0] {
    const { address, seats } = this.#settings
    const urls = memberUrls(address, this.#certificates !== undefined)
    return {
      client,
      seats,
      prefix: nodesPrefix,
      canServe: this.#binary !== undefined,
      self: () => ({ address, ...urls, name: this.#memberName }),
      hasMember: () => this.#member !== undefined,
      takeSeat: (members) => {
        const others = members.filter(({ name }) => name !== '')
        this.#startMember(
          this.#memberName,
          others.flatMap(({ name, peerUrls }) => peerUrls.map((url) => `${name}=${url}`)),
          false,
        )
      },
      useEndpoints: (addresses, clusterId) => this.#useEndpoints(client, addresses, clusterId),
      note: (event, fields, level) => this.#options.onNote(event, fields, level),
    }
  }

  async #useEndpoints(client: EtcdClient, addresses: readonly string[], clusterId: string): Promise<void> {
    this.#founding.settled(clusterId, addresses)
    if (addresses.length === 0 || [...addresses].sort().join() === [...this.#endpoints].sort().join()) return
    client.useEndpoints(addresses)
    this.#store?.useEndpoints(addresses)
    this.#endpoints = addresses
    await this.#home.rememberEndpoints(addresses)
  }

  /**
   * Tells the nodes of all members that they belong here: one of them may have lost its disk and know nothing. It must not depend on a
   * leader or a quorum, which may be missing for the very reason that such a node is gone.
   */
  #callMembers(): void {
    const { address, clusterName } = this.#settings
    const clusterId = this.#client?.continuity.clusterId
    if (clusterId === undefined) return
    const question = { type: 'belong', cluster: clusterName, from: address, clusterId } as const
    for (const endpoint of this.#endpoints) {
      const peer = peerAddressOf(endpoint)
      if (peer === address) continue
      const full = { ...question, endpoints: this.#endpoints.filter((one) => one !== endpoint) }
      void this.#rendezvous?.ask(etcdAddress(peer, 'rendezvous'), full, this.#closing.signal)
    }
  }

  #onStranger(clusterId: string): void {
    if (this.#stranger !== undefined) return
    this.#stranger = new SkeinError(
      'store_mismatch',
      `another etcd cluster (${clusterId}) counts this node among its members: end the wrong one of the two, remove its etcd directory (${this.#settings.home} here), and start it with --peer`,
    )
    this.#options.onNote('etcd.stranger', { cluster_id: clusterId, detail: this.#stranger.message }, 'error')
  }

  #snapshotLater(delayMs: number): void {
    if (this.#closing.signal.aborted) return
    this.#snapshotTimer = setTimeout(() => {
      const taking = this.#member === undefined ? Promise.resolve('') : this.snapshot()
      taking
        .catch((error: unknown) =>
          this.#options.onNote('etcd.snapshot_failed', { detail: String(error) }, 'warn'),
        )
        .finally(() => this.#snapshotLater(snapshotEveryMs))
    }, delayMs).unref()
  }

  #need(): FollowingStore {
    if (this.#stranger !== undefined) throw this.#stranger
    if (this.#store === undefined || this.#closing.signal.aborted) {
      throw new SkeinError('closed', 'the store is closed')
    }
    return this.#store
  }

  async #stop(): Promise<void> {
    this.#closing.abort()
    clearTimeout(this.#snapshotTimer)
    clearInterval(this.#callTimer)
    await this.#steward?.stop()
    await this.#store?.close()
    this.#client?.close()
    await this.#rendezvous?.close()
    await this.#member?.stop()
  }
}
