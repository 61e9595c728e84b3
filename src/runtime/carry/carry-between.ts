/** Opens both ends of a carry, and closes them whatever comes. */
import { resolve } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'
import type { Journal } from '../../ports/journal.js'
import type { Store } from '../../ports/store.js'
import { makeJournal, makeStoreAt } from '../compose.js'
import { Credentials } from '../credentials.js'
import type { Log } from '../log.js'
import type { NodeConfig } from '../node-api.js'
import { type CarryOptions, type CarryReport, carry, reopen } from './carry.js'
import { type CarryMark, withoutPassword } from './carry-marks.js'

export interface Place {
  readonly store: string
  readonly journal: string
}

/**
 * From the store and journal of `config` to `to`; the rest of `config` is for a store that the nodes run themselves. Errors: those of `carry`,
 * `bad_config` for the URLs, and what opening throws.
 */
export async function carryBetween(
  config: NodeConfig,
  to: Place,
  options: Omit<CarryOptions, 'clusterName' | 'source' | 'target'>,
  log: Log,
): Promise<CarryReport> {
  if (config.store.startsWith('etcd+managed:') && to.store.startsWith('etcd+managed:'))
    throw new SkeinError('bad_config', 'source and target are both etcd+managed:, which one node has once', {
      details: { field: 'store' },
    })
  return await withOpened(log, async (opened) => {
    const source = {
      store: await opened.store(config, config.store),
      journal: await opened.journal(config.journal),
    }
    const target = { store: await opened.store(config, to.store), journal: await opened.journal(to.journal) }
    return await carry({
      ...options,
      clusterName: config.clusterName,
      source: { ...source, storeName: nameOf(config.store), journalName: nameOf(config.journal) },
      target: { ...target, storeName: nameOf(to.store), journalName: nameOf(to.journal) },
    })
  })
}

/** Errors: those of `reopen`, and what opening throws. */
export async function reopenSource(config: NodeConfig, log: Log): Promise<CarryMark> {
  return await withOpened(log, async (opened) =>
    reopen(await opened.store(config, config.store), nameOf(config.store), config.clusterName),
  )
}

/**
 * Runs the part of an `etcd+managed:` store that lies in the data directory of `config`, and nothing else, until the signal: so that a carry in
 * another place finds most of its members. Errors: `bad_config` for any other store, and what opening throws.
 */
export async function lendStore(
  config: NodeConfig,
  signal: AbortSignal,
  ready: () => void,
  log: Log,
): Promise<void> {
  if (!config.store.startsWith('etcd+managed:'))
    throw new SkeinError(
      'bad_config',
      `--lend is for --store etcd+managed:, not for ${nameOf(config.store)}`,
      {
        details: { field: 'store' },
      },
    )
  await withOpened(log, async (opened) => {
    await opened.store(config, config.store)
    ready()
    if (!signal.aborted)
      await new Promise<void>((done) => signal.addEventListener('abort', () => done(), { once: true }))
  })
}

interface Opened {
  store(config: NodeConfig, url: string): Promise<Store>
  journal(url: string): Promise<Journal>
}

async function withOpened<T>(log: Log, use: (opened: Opened) => Promise<T>): Promise<T> {
  const closers: (() => Promise<void> | void)[] = []
  const opened: Opened = {
    async store(config, url) {
      const store = makeStoreAt(
        url,
        config,
        cookiesFor(config, url, log, closers),
        (event, fields, level = 'warn') => log(level, event, fields),
      )
      closers.push(() => store.close())
      await store.open()
      return store
    },
    async journal(url) {
      const journal = makeJournal(url, 'inline', () => undefined)
      closers.push(() => journal.close())
      await journal.open()
      return journal
    },
  }
  try {
    return await use(opened)
  } finally {
    for (const close of closers.reverse()) await close()
  }
}

/** Only a store that the nodes run themselves is protected by the cluster's cookie. */
function cookiesFor(
  config: NodeConfig,
  url: string,
  log: Log,
  closers: (() => Promise<void> | void)[],
): readonly Uint8Array[] {
  if (!url.startsWith('etcd+managed:')) return []
  const credentials = new Credentials({ ...config, http: false }, config.nodeId ?? '', log)
  closers.push(() => credentials.close())
  return credentials.keys.cookies
}

/** As it may be shown: no password, and a path that does not depend on where somebody stands. */
function nameOf(url: string): string {
  const path = /^sqlite:(?:\/\/)?(.+)$/.exec(url)?.[1]
  return path === undefined ? withoutPassword(url) : `sqlite:${resolve(path)}`
}
