/**
 * The cluster's configuration on one node: a copy of all documents, as the control plane sees them, and guarded transactions that write a document and its
 * history together. Every version is a key of its own, so that nobody reads history who does not ask for it.
 */
import {
  type ConfigRecord,
  configKey,
  configPrefix,
  encodeConfig,
  historyKey,
  historyOf,
  readConfig,
  settingsName,
} from '../../core/kernel/config-document.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, StoreOp } from '../../core/kernel/store-types.js'
import type { Strategy } from '../../core/kernel/strategies.js'
import { jsonEncode } from '../../core/kernel/text.js'
import type { ControlLink } from '../control-link.js'
import type { NodeConfig } from '../node-api.js'
import type { ConfigApi, ConfigDocument, ConfigWrite, Settings } from './api-types.js'
import { checkSettings, settingsOf } from './settings.js'

const keyPattern = /^[A-Za-z0-9._-]{1,128}$/
const valueBytesMax = 65_536
const documentsMax = 200
const versionsMax = 50
/** Of all versions of a document that are kept, but for the present one. */
const historyBytesMax = 524_288
const textMax = 512
/** Others write the same document at the same moment. */
const triesMax = 10

export interface ClusterConfigWorld {
  readonly config: NodeConfig
  readonly link: Pick<ControlLink, 'call'>
  /** In force where the document says none. */
  strategy(): Strategy
  log(level: 'info' | 'error', event: string, fields: Record<string, unknown>): void
}

interface Held {
  readonly rev: bigint
  readonly document: ConfigDocument
}

export class ClusterConfig implements ConfigApi {
  private readonly world: ClusterConfigWorld
  private readonly documents = new Map<string, Held>()
  private readonly listeners = new Set<(document: ConfigDocument) => void>()
  private readonly settingsListeners = new Set<(settings: Settings) => void>()
  private inForce: Settings

  constructor(world: ClusterConfigWorld) {
    this.world = world
    this.inForce = this.settingsNow()
  }

  list(): readonly ConfigDocument[] {
    return [...this.documents.values()]
      .map(({ document }) => document)
      .sort((a, b) => (a.key < b.key ? -1 : 1))
  }

  get(key: string): ConfigDocument | undefined {
    return this.documents.get(key)?.document
  }

  get settings(): Settings {
    return { ...this.inForce, strategy: this.world.strategy() }
  }

  async set(key: string, value: unknown, options: ConfigWrite = {}): Promise<ConfigDocument> {
    this.check(key, value, options)
    return this.write(key, () => value, options)
  }

  /** Changes some of the runtime's own settings and leaves the others. */
  async changeSettings(fields: Readonly<Record<string, unknown>>, options: ConfigWrite = {}): Promise<void> {
    const changed = (before: unknown): unknown => {
      const kept = typeof before === 'object' && before !== null ? before : {}
      return { ...kept, ...fields }
    }
    checkSettings(fields)
    await this.write(settingsName, changed, options)
  }

  async history(key: string): Promise<readonly ConfigDocument[]> {
    checkKey(key)
    const kvs = await this.world.link.call('list', historyOf(key))
    return kvs.flatMap((kv) => documentOf(key, readConfig(kv)) ?? []).sort((a, b) => b.version - a.version)
  }

  async rollback(key: string, version: number, options: ConfigWrite = {}): Promise<ConfigDocument> {
    const versions = await this.history(key)
    const earlier = versions.find((v) => v.version === version)
    if (earlier === undefined)
      throw new SkeinError('not_found', `version ${version} of "${key}" is not kept`, {
        details: { key, versions: versions.map((v) => v.version) },
      })
    const note = options.note ?? `version ${version} again`
    return this.set(key, earlier.value, { ...options, note })
  }

  watch(listener: (document: ConfigDocument) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  onSettings(listener: (settings: Settings) => void): () => void {
    this.settingsListeners.add(listener)
    return () => this.settingsListeners.delete(listener)
  }

  /** All documents, as the control plane's copy of the store has them. */
  update(kvs: readonly KeyValue[]): void {
    for (const kv of kvs) this.take(kv)
  }

  // --- writing ---------------------------------------------------------------------------------------------------------------

  private check(key: string, value: unknown, { by = '', note = '' }: ConfigWrite): void {
    checkKey(key)
    if (by.length > textMax || note.length > textMax)
      throw new SkeinError('invalid_argument', `by and note have ${textMax} characters at most`)
    if (JSON.stringify(value) === undefined)
      throw new SkeinError('invalid_argument', `a value of type ${typeof value} is no JSON`)
    const bytes = jsonEncode(value).length
    if (bytes > valueBytesMax)
      throw new SkeinError('payload_too_large', `"${key}" has ${bytes} bytes, ${valueBytesMax} are allowed`, {
        details: { key, bytes, bytes_max: valueBytesMax },
      })
    if (key === settingsName) checkSettings(value)
  }

  private async write(
    key: string,
    change: (before: unknown) => unknown,
    options: ConfigWrite,
  ): Promise<ConfigDocument> {
    const { link } = this.world
    for (let tries = 0; tries < triesMax; tries++) {
      const present = (await link.call('list', configKey(key))).find((kv) => kv.key === configKey(key))
      const before = present === undefined ? undefined : readConfig(present)
      const version = before?.version ?? 0
      if (options.ifVersion !== undefined && options.ifVersion !== version)
        throw new SkeinError(
          'conflict',
          version === 0
            ? `"${key}" does not exist, version ${options.ifVersion} was expected`
            : `"${key}" is at version ${version}, not ${options.ifVersion}`,
          { details: { key, version } },
        )
      if (present === undefined && this.documents.size >= documentsMax)
        throw new SkeinError('overloaded', `there are ${documentsMax} documents already`)
      const record: ConfigRecord = {
        version: version + 1,
        value: change(before?.value),
        atMs: Date.now(),
        by: options.by ?? '',
        note: options.note ?? '',
      }
      const value = jsonEncode(encodeConfig(record))
      const { ok, rev } = await link.call('transact', {
        if: [{ key: configKey(key), target: 'modRev', op: '=', value: present?.modRev ?? 0n }],
        then: [
          { type: 'put', key: configKey(key), value },
          { type: 'put', key: historyKey(key, record.version), value },
          ...(await this.outdated(key, value.length)),
        ],
      })
      if (!ok) continue
      this.take({ key: configKey(key), value, modRev: rev })
      return { key, ...record }
    }
    throw new SkeinError('conflict', `"${key}" is being changed by others all the time`, { retryable: true })
  }

  /** Versions that make room for the next one. */
  private async outdated(key: string, bytes: number): Promise<StoreOp[]> {
    const kept = [...(await this.world.link.call('list', historyOf(key)))].sort((a, b) =>
      a.key < b.key ? 1 : -1,
    )
    let [versions, sum] = [1, bytes]
    const gone: StoreOp[] = []
    for (const kv of kept) {
      versions++
      sum += kv.value.length
      if (versions > versionsMax || sum > historyBytesMax) gone.push({ type: 'delete', key: kv.key })
    }
    return gone.slice(0, 100)
  }

  // --- what others wrote -----------------------------------------------------------------------------------------------------

  private take(kv: Pick<KeyValue, 'key' | 'value' | 'modRev'>): void {
    const key = kv.key.slice(configPrefix.length)
    const held = this.documents.get(key)
    const document = documentOf(key, readConfig(kv))
    if (document === undefined || (held !== undefined && held.rev >= kv.modRev)) return
    this.documents.set(key, { rev: kv.modRev, document })
    this.tell(this.listeners, document)
    if (key === settingsName) this.apply()
  }

  private apply(): void {
    const before = JSON.stringify(this.inForce)
    this.inForce = this.settingsNow()
    if (JSON.stringify(this.inForce) === before) return
    this.world.log('info', 'settings.changed', { ...this.inForce })
    this.tell(this.settingsListeners, this.inForce)
  }

  private settingsNow(): Settings {
    return settingsOf(this.world.config, this.get(settingsName)?.value, this.world.strategy())
  }

  private tell<T>(listeners: ReadonlySet<(what: T) => void>, what: T): void {
    for (const listener of [...listeners])
      try {
        listener(what)
      } catch (error) {
        this.world.log('error', 'config.watcher_failed', { detail: String(error) })
      }
  }
}

function checkKey(key: string): void {
  if (!keyPattern.test(key))
    throw new SkeinError('invalid_argument', `key "${key}": 1 to 128 characters of A-Z a-z 0-9 . _ -`)
}

function documentOf(key: string, record: ConfigRecord | undefined): ConfigDocument | undefined {
  return record === undefined ? undefined : { key, ...record }
}
