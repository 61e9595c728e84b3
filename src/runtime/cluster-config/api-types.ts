/** What a program is told about the cluster's configuration, and what it may ask of it. Types only. */
import type { Strategy } from '../../core/kernel/strategies.js'

export interface ConfigDocument {
  readonly key: string
  /** Rises by one with every change. */
  readonly version: number
  /** Any JSON value. */
  readonly value: unknown
  readonly atMs: number
  /** Who wrote it, and why; either may be empty. */
  readonly by: string
  readonly note: string
}

export interface ConfigWrite {
  /** Only if that is the present version; 0: only if there is none. `conflict`, with `version` in its details, otherwise. */
  readonly ifVersion?: number
  readonly by?: string
  readonly note?: string
}

/** What the runtime itself can be told while it runs, for all nodes at once: the document `skein`. What is not said there, each node was started with. */
export interface Settings {
  readonly strategy: Strategy
  readonly rebalance: 'auto' | 'manual'
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly rateLimit: number
  readonly rateBurst: number
  readonly retentionHours: number
  readonly retentionStreamMib: number
}

/**
 * Versioned documents in the store. Reads are of this node's copy, which is behind by the moment that a watch takes and stands still without a store;
 * writes are linearizable. Errors of writes: `invalid_argument`, `conflict`, `not_found`, `payload_too_large` (64 KiB), `overloaded` (200 documents),
 * `unavailable`.
 */
export interface ConfigApi {
  /** In order of key. */
  list(): readonly ConfigDocument[]
  get(key: string): ConfigDocument | undefined
  set(key: string, value: unknown, options?: ConfigWrite): Promise<ConfigDocument>
  /** The newest first: at most 50, fewer of large ones. Empty for a document that does not exist. */
  history(key: string): Promise<readonly ConfigDocument[]>
  /** Writes the value of an earlier version again, as a new one. */
  rollback(key: string, version: number, options?: ConfigWrite): Promise<ConfigDocument>
  /** After each change that this node comes to know of. Returns the way to stop. */
  watch(listener: (document: ConfigDocument) => void): () => void
  /** In force on this node. */
  readonly settings: Settings
  onSettings(listener: (settings: Settings) => void): () => void
}
