/**
 * Is the etcd behind these endpoints still the one that was opened? Every answer carries the id of its cluster and its revision; a
 * linearizable answer must not be older than any that came before its request. Another cluster, or a revision that went back (a
 * restored snapshot), ends this handle for good with `store_mismatch`: to go on would hand out fences a second time.
 *
 * What cannot be seen: a cluster restored under the same token and addresses that was already written beyond our last revision
 * while we were away. A restore must therefore use a new `--initial-cluster-token`.
 */
import type { Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { type Header, toBig, toHex } from './codec.js'

export class Continuity {
  #clusterId: string | undefined
  #revision: Revision = 0n
  #broken: SkeinError | undefined

  /** Hex; undefined before the first answer. */
  get clusterId(): string | undefined {
    return this.#clusterId
  }

  /** The highest revision seen: what an answer to a request sent now must have reached. */
  get revision(): Revision {
    return this.#revision
  }

  /** Throws `store_mismatch` when it once was found to be another store. */
  check(): void {
    if (this.#broken !== undefined) throw this.#broken
  }

  /** `floor`: `revision` as it was when the request went out, for linearizable answers. Throws `store_mismatch`. */
  answered(header: Header, endpoint: string, floor: Revision | undefined): void {
    const clusterId = toHex(header.clusterId)
    this.#clusterId ??= clusterId
    if (clusterId !== this.#clusterId) {
      this.break(
        `${endpoint} belongs to the etcd cluster ${clusterId}, and this store was opened on ${this.#clusterId}`,
      )
    }
    const revision = toBig(header.revision)
    if (floor !== undefined && revision < floor) {
      this.break(`${endpoint} is at revision ${revision}, and ${floor} had been reached: etcd was set back`)
    }
    if (floor !== undefined && revision > this.#revision) this.#revision = revision
  }

  /** Throws. */
  break(reason: string): never {
    this.#broken ??= new SkeinError('store_mismatch', `the store is not the one that was opened: ${reason}`)
    throw this.#broken
  }
}
