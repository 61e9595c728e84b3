/**
 * Who makes the first member, without ever making two clusters.
 *
 * A node's group is its own address and the peers it was started with. A cluster is founded only when every node of the group has
 * answered, knows of no cluster, has the same group, and has promised in writing to let the founder found it; the founder is the first
 * address of the group in byte order. A promise is kept over restarts and given once, so of two would-be founders at most one gets all
 * of them. Nobody founds on silence: a peer that does not answer may be the one that has the data.
 *
 * A node without peers is a group of one and founds after a moment in which an existing cluster may call it: the nodes of a cluster
 * call the addresses of all members every second, so that one that lost its disk and is started as it was the first time joins.
 * A node that has etcd data, or has once seen a cluster, never founds.
 */
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import type { FoundingPromise, Home } from './home.js'
import type { Answer, Question } from './rendezvous.js'
import { etcdAddress, type ManagedSettings } from './settings.js'

export type Found =
  | { readonly type: 'join'; readonly endpoints: readonly string[] }
  | { readonly type: 'found' }

export interface FoundingWorld {
  readonly settings: Pick<ManagedSettings, 'address' | 'clusterName' | 'peers'>
  readonly home: Pick<Home, 'hasData' | 'endpoints' | 'promise' | 'promiseTo'>
  /** May this node run etcd at all? */
  readonly canFound: boolean
  ask(address: string, question: Question, signal: AbortSignal): Promise<Answer | undefined>
  pause(delayMs: number, signal: AbortSignal): Promise<void>
  /** Another cluster says that this node belongs to it. */
  onStranger(clusterId: string): void
}

const askEveryMs = 150
/** How long a lone node waits for a cluster that misses it. Longer than such a cluster takes between two calls. */
const loneMs = 2200

export class Founding {
  readonly #world: FoundingWorld
  readonly #group: readonly string[]
  /** Where the cluster is, once that is known. */
  #endpoints: readonly string[] = []
  #clusterId: string | undefined
  #promise: FoundingPromise | undefined
  #detail = 'nobody was asked yet'

  constructor(world: FoundingWorld) {
    this.#world = world
    this.#promise = world.home.promise
    this.#group = [...new Set([world.settings.address, ...world.settings.peers])].sort()
  }

  /** This node is in a cluster, which it names to others from now on. */
  settled(clusterId: string, endpoints: readonly string[]): void {
    this.#clusterId = clusterId
    this.#endpoints = endpoints
  }

  async answer(question: Question): Promise<Answer> {
    const { settings } = this.#world
    const answer = { endpoints: this.#endpoints, group: this.#group, granted: false, detail: this.#detail }
    if (question.cluster !== settings.clusterName) {
      return { ...answer, endpoints: [], detail: `this is a node of the cluster "${settings.clusterName}"` }
    }
    if (question.type === 'belong') this.#called(question.clusterId, question.endpoints)
    if (question.type !== 'vote') return answer
    const refusal = await this.#vote(question.from, question.group)
    return { ...answer, granted: refusal === undefined, detail: refusal ?? 'granted' }
  }

  /** Throws `unavailable` that says what it waited for. */
  async find(deadlineMs: number, signal: AbortSignal): Promise<Found> {
    const { settings, home } = this.#world
    const remembered = home.endpoints
    if (remembered.length > 0) this.#endpoints = remembered
    const startedMs = monotonicMs()
    for (;;) {
      if (signal.aborted) throw new SkeinError('aborted', 'aborted while looking for the etcd cluster')
      const endpoints = await this.#look(signal)
      if (endpoints.length > 0) return { type: 'join', endpoints }
      const isLone = this.#group.length === 1
      if (!isLone || monotonicMs() - startedMs >= loneMs) {
        if (await this.#mayFound(signal)) return { type: 'found' }
      }
      if (monotonicMs() >= deadlineMs) {
        throw new SkeinError(
          'unavailable',
          `${settings.address} found no etcd cluster to join: ${this.#detail}`,
          {
            retryable: true,
          },
        )
      }
      await this.#world.pause(askEveryMs, signal)
    }
  }

  #called(clusterId: string, endpoints: readonly string[]): void {
    if (this.#clusterId !== undefined) {
      if (this.#clusterId !== clusterId) this.#world.onStranger(clusterId)
    } else if (this.#endpoints.length === 0 && !this.#world.home.hasData) this.#endpoints = endpoints
  }

  /** Endpoints of a cluster that this node or one of its peers knows. */
  async #look(signal: AbortSignal): Promise<readonly string[]> {
    const answers = await this.#askAll({ type: 'hello' }, signal)
    const found = [...this.#endpoints, ...answers.flatMap(({ answer }) => answer?.endpoints ?? [])]
    const silent = answers.filter(({ answer }) => answer === undefined).map(({ peer }) => peer)
    const others = answers.filter(
      ({ answer }) => answer !== undefined && !sameGroup(answer.group, this.#group),
    )
    if (silent.length > 0) {
      this.#detail = `no answer from ${silent.join(', ')} (or not with the same cookie); nobody founds a cluster while a peer is silent`
    } else if (others.length > 0) {
      const views = others.map(({ peer, answer }) => `${peer} names ${answer?.group.join(', ')}`)
      this.#detail = `the nodes were started with different peers (${this.#group.join(', ')} here; ${views.join('; ')}): start one without peers, or all with the same`
    } else this.#detail = ''
    return [...new Set(found)]
  }

  async #mayFound(signal: AbortSignal): Promise<boolean> {
    const { settings, canFound } = this.#world
    if (this.#detail !== '') return false
    const founder = this.#group[0]!
    const promise = this.#promise
    if (promise !== undefined && promise.founder !== settings.address) {
      this.#detail = `this node has promised that ${promise.founder} founds the cluster, and that one is not ready`
      return false
    }
    if (promise === undefined && founder !== settings.address) {
      this.#detail = `${founder} is to found the cluster`
      return false
    }
    if (!canFound) {
      this.#detail =
        'this node would found the cluster, but no etcd is installed here (apt-get install etcd-server)'
      return false
    }
    await this.#promiseTo(settings.address)
    const votes = await this.#askAll({ type: 'vote', group: this.#group }, signal)
    const refused = votes.filter(({ answer }) => answer?.granted !== true)
    this.#detail = refused.map(({ peer, answer }) => `${peer}: ${answer?.detail ?? 'silent'}`).join('; ')
    // Called by a cluster while the votes came in: that one is older.
    return refused.length === 0 && this.#endpoints.length === 0
  }

  /** Undefined: granted, and on disk. */
  async #vote(founder: string, group: readonly string[]): Promise<string | undefined> {
    const { home } = this.#world
    if (home.hasData || this.#endpoints.length > 0 || home.endpoints.length > 0) {
      return 'this node knows of a cluster already'
    }
    if (!sameGroup(group, this.#group) || !group.includes(founder)) {
      return `this node was started with other peers: ${this.#group.join(', ')}`
    }
    if (this.#promise !== undefined && this.#promise.founder !== founder) {
      return `promised to ${this.#promise.founder}`
    }
    await this.#promiseTo(founder)
    return undefined
  }

  /** Resolves when it is on disk; it counts from now on, so that nobody is promised the same meanwhile. */
  async #promiseTo(founder: string): Promise<void> {
    this.#promise = { founder, group: this.#group }
    await this.#world.home.promiseTo(this.#promise)
  }

  async #askAll(
    question: { readonly type: 'hello' } | { readonly type: 'vote'; readonly group: readonly string[] },
    signal: AbortSignal,
  ): Promise<{ peer: string; answer: Answer | undefined }[]> {
    const { settings } = this.#world
    const full: Question = { ...question, cluster: settings.clusterName, from: settings.address }
    return Promise.all(
      settings.peers.map(async (peer) => ({
        peer,
        answer: await this.#world.ask(etcdAddress(peer, 'rendezvous'), full, signal),
      })),
    )
  }
}

function sameGroup(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((address, at) => address === b[at])
}
