/**
 * Versioned documents that the cluster keeps in its store: one key for the present version of each, one for each version that is kept. What is written
 * under `skein` are settings of the runtime itself; the rest belongs to programs.
 */
import type { KeyValue } from './store-types.js'
import type { StoreView } from './store-view.js'
import { jsonDecode } from './text.js'

export const configPrefix = 'config/'
const historyPrefix = 'config-history/'
/** Of the document that holds the runtime's own settings. */
export const settingsName = 'skein'

export const configKey = (name: string): string => configPrefix + name
/** All versions of one document that are kept. */
export const historyOf = (name: string): string => `${historyPrefix}${name}/`
/** In order of version. */
export const historyKey = (name: string, version: number): string =>
  historyOf(name) + String(version).padStart(12, '0')

export interface ConfigRecord {
  /** 1 for the first, then one more with every change. */
  readonly version: number
  /** Any JSON value. */
  readonly value: unknown
  readonly atMs: number
  /** Who wrote it, and why; either may be empty. */
  readonly by: string
  readonly note: string
}

export function encodeConfig({ version, value, atMs, by, note }: ConfigRecord): unknown {
  return { v: 1, version, value, at_ms: atMs, by, note }
}

/** Undefined for what is no such record. */
export function readConfig(kv: Pick<KeyValue, 'value'>): ConfigRecord | undefined {
  return recordOf(jsonDecode(kv.value))
}

function recordOf(json: unknown): ConfigRecord | undefined {
  if (typeof json !== 'object' || json === null || !('value' in json)) return undefined
  const { version, value, at_ms, by, note } = json as Record<string, unknown>
  if (!Number.isSafeInteger(version)) return undefined
  return {
    version: version as number,
    value,
    atMs: Number(at_ms),
    by: String(by ?? ''),
    note: String(note ?? ''),
  }
}

/** One of the runtime's own settings, as a machine of the control plane reads it; undefined where none is set. */
export function setting(view: StoreView, field: string): unknown {
  const value = recordOf(view.json(configKey(settingsName)))?.value
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined
}

/** Whether what runs well is moved for the sake of balance: as the cluster says, else as this node was started. */
export function isRebalancing(view: StoreView, byDefault: boolean): boolean {
  const said = setting(view, 'rebalance')
  return said === 'auto' || said === 'manual' ? said === 'auto' : byDefault
}
