/**
 * From flags, environment and file to one configuration, in this order: flag, SKEIN_*, the older systems' variables, config file,
 * default. All mistakes are reported at once, each with where the value came from; nothing is corrected silently.
 */
import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { SkeinError } from '../core/kernel/error.js'
import type { NodeConfig } from '../runtime/node-api.js'
import { type OlderVariable, type Option, options, variableOf } from './options.js'
import { parseValue } from './value.js'

export interface Setting {
  readonly option: Option
  /** Undefined when nobody says and there is no default. */
  readonly value: unknown
  /** `flag --port`, `environment SKEIN_PORT`, `file x.json`, `default`. */
  readonly source: string
  /** 0 for a flag, rising as the source gets weaker. */
  readonly rank: number
}

export type FlagValue = string | boolean | readonly string[]

export interface Sources {
  /** By option key. */
  readonly flags?: Readonly<Partial<Record<string, FlagValue>>>
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Path of a JSON file; `SKEIN_CONFIG` when absent. */
  readonly configFile?: string | undefined
}

interface Given {
  readonly value: unknown
  readonly source: string
  readonly rank: number
}

/** Throws `bad_config` with every mistake in `details.mistakes`. */
export function resolveConfig(sources: Sources): readonly Setting[] {
  const mistakes: string[] = []
  const path = sources.configFile ?? textOf(sources.env?.SKEIN_CONFIG)
  const file = path === undefined ? new Map<string, unknown>() : readConfigFile(path, mistakes)
  const settings = options.map((option): Setting => {
    const given = strongest(option, sources, file, path ?? '')
    if (given === undefined) return { option, value: option.default, source: 'default', rank: 9 }
    const value = given.value instanceof Error ? given.value : parseValue(option, given.value)
    if (!(value instanceof Error)) return { ...given, option, value }
    mistakes.push(`${option.key} (${given.source}): ${value.message}`)
    return { ...given, option, value: undefined }
  })
  const complete = withDerived(settings)
  crossCheck(complete, mistakes)
  if (mistakes.length > 0) throw new SkeinError('bad_config', mistakes.join('\n'), { details: { mistakes } })
  return complete
}

export function toNodeConfig(settings: readonly Setting[]): NodeConfig {
  const given = settings.filter(({ value }) => value !== undefined)
  const values = Object.fromEntries(given.map(({ option, value }) => [option.key, value]))
  // Every key that NodeConfig requires has a default in the schema or is derived; a test holds the two together.
  return { ...values, threads: 'worker', http: true } as NodeConfig
}

/** The strongest source that says something. An empty variable says nothing. */
function strongest(
  option: Option,
  { flags = {}, env = {} }: Sources,
  file: ReadonlyMap<string, unknown>,
  fileName: string,
): Given | undefined {
  const flag = flags[option.key]
  if (flag !== undefined) return { value: flag, source: `flag --${option.flag}`, rank: 0 }
  for (const name of [option.flag, ...(option.aliases ?? [])].map(variableOf)) {
    const value = textOf(env[name])
    if (value !== undefined) return { value, source: `environment ${name}`, rank: 1 }
  }
  for (const variable of option.older ?? []) {
    const value = partOf(variable, textOf(env[variable.name]))
    if (value !== undefined) return { value, source: `environment ${variable.name}`, rank: 2 }
  }
  if (!file.has(option.key)) return undefined
  return { value: file.get(option.key), source: `file ${fileName}`, rank: 3 }
}

function textOf(value: string | undefined): string | undefined {
  return value === '' ? undefined : value
}

/** `127.0.0.1:7000` or `:7000`: an absent host says nothing about the host. */
function partOf(variable: OlderVariable, text: string | undefined): string | Error | undefined {
  if (variable.part === undefined || text === undefined) return text
  const match = /^(\[[0-9A-Fa-f:.]+\]|[^:]*):(\d{1,5})$/.exec(text)
  if (match === null) return new Error(`host:port expected, got ${JSON.stringify(text)}`)
  return variable.part === 'port' ? match[2] : textOf(match[1]?.replace(/^\[|\]$/g, ''))
}

/** Keys are the options' own or their flags' spelling. */
function readConfigFile(path: string, mistakes: string[]): Map<string, unknown> {
  const found = new Map<string, unknown>()
  let content: unknown
  try {
    content = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    mistakes.push(`file ${path}: ${error instanceof Error ? error.message : String(error)}`)
    return found
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    mistakes.push(`file ${path}: a JSON object is expected`)
    return found
  }
  for (const [key, value] of Object.entries(content)) {
    const option = options.find((o) => o.key === key || o.flag === key || o.aliases?.includes(key) === true)
    if (option === undefined) {
      mistakes.push(`file ${path}: unknown key "${key}"; known: ${options.map((o) => o.key).join(', ')}`)
    } else if (found.has(option.key)) mistakes.push(`file ${path}: "${key}" is given twice`)
    else found.set(option.key, value)
  }
  return found
}

/** Directories follow from the peer port and from one another. */
function withDerived(settings: readonly Setting[]): readonly Setting[] {
  const settled = (key: string): unknown => settings.find((s) => s.option.key === key)?.value
  const dataDir = resolve(String(settled('dataDir') ?? join('.skein', `node-${String(settled('peerPort'))}`)))
  const derived: Readonly<Record<string, string>> = {
    dataDir,
    store: `sqlite:${join(dirname(dataDir), 'store.db')}`,
    journal: `sqlite:${join(dirname(dataDir), 'journal')}`,
  }
  // The stronger of cookie and cookie file counts; which one wins must not depend on who reads them.
  const [cookie, cookieFile] = ['cookie', 'cookieFile'].map((key) =>
    settings.find((s) => s.option.key === key),
  )
  const beaten = cookie !== undefined && cookieFile !== undefined ? weaker(cookie, cookieFile) : undefined
  return settings.map((setting) => {
    const { key } = setting.option
    if (setting === beaten) return { ...setting, value: undefined, source: `${setting.source}, overridden` }
    if (key === 'dataDir') return { ...setting, value: dataDir }
    return setting.rank === 9 && derived[key] !== undefined ? { ...setting, value: derived[key] } : setting
  })
}

function weaker(a: Setting, b: Setting): Setting | undefined {
  if (a.value === undefined || b.value === undefined || a.rank === b.rank) return undefined
  return a.rank < b.rank ? b : a
}

function crossCheck(settings: readonly Setting[], mistakes: string[]): void {
  const get = (key: string): Setting | undefined => settings.find((s) => s.option.key === key)
  const [host, peerHost, cookie, cookieFile] = ['host', 'peerHost', 'cookie', 'cookieFile'].map(get)
  if (cookie?.value !== undefined && cookieFile?.value !== undefined) {
    mistakes.push(`cookie (${cookie.source}) and cookieFile (${cookieFile.source}): give one of them`)
  }
  const hasCookie = cookie?.rank !== 9 || cookieFile?.rank !== 9
  const given = (key: string): boolean => get(key)?.value !== undefined
  const tls = ['tlsCa', 'tlsCert', 'tlsKey'].filter(given)
  if (tls.length > 0 && tls.length < 3)
    mistakes.push(`${tls.join(', ')}: --tls-ca, --tls-cert and --tls-key go together`)
  if (given('httpsCert') !== given('httpsKey'))
    mistakes.push('httpsCert, httpsKey: --https-cert and --https-key go together')
  if (tls.length === 3 && !hasCookie && String(get('store')?.value).startsWith('etcd+managed:'))
    mistakes.push('store: etcd+managed: makes its certificates from a cookie: give one beside --tls-cert')
  if (peerHost?.value !== undefined && !isLoopback(String(peerHost.value)) && !hasCookie && tls.length < 3) {
    mistakes.push(
      `peerHost (${peerHost.source}): ${String(peerHost.value)} can be reached from other machines: give the cluster a --cookie or --cookie-file, or certificates (--tls-cert)`,
    )
  }
  const isGuarded = get('insecure')?.value === true || get('tokenFile')?.value !== undefined
  if (host?.value !== undefined && !isLoopback(String(host.value)) && !isGuarded) {
    mistakes.push(
      `host (${host.source}): ${String(host.value)} can be reached from other machines: give a --token-file with a token (skein token create), bind loopback, or accept that anybody may do anything with --insecure`,
    )
  }
}

function isLoopback(host: string): boolean {
  return /^(localhost|\[?::1\]?|127(\.\d{1,3}){3})$/i.test(host)
}
