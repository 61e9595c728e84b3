/**
 * From flags, environment and file to one configuration: flag, SKEIN_*, the older systems' variables, config file, default, in this order. All
 * errors are reported at once, each with where the value came from; nothing is corrected silently.
 */
import { readFileSync } from 'node:fs'
import { SkeinError } from '../core/kernel/error.js'
import type { NodeConfig } from '../runtime/node-api.js'
import { type Option, options } from './options.js'

export interface Setting {
  readonly option: Option
  readonly value: unknown
  /** `flag --port`, `environment SKEIN_PORT`, `file x.json`, `default`. */
  readonly source: string
}

export type FlagValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>

/** Flags by option key; `--config FILE` is read here. Throws `bad_config` with every mistake in `details.mistakes`. */
export function resolveConfig(
  flags: FlagValues,
  env: Readonly<Record<string, string | undefined>>,
  configFile?: string,
): { config: Partial<NodeConfig>; settings: readonly Setting[] } {
  const mistakes: string[] = []
  const file = configFile === undefined ? {} : readConfigFile(configFile, mistakes)
  const settings = options.map((option) => settle(option, flags, env, file, configFile ?? '', mistakes))
  const config: Record<string, unknown> = {}
  for (const { option, value } of settings) if (value !== undefined) config[option.key] = value
  const known = new Set(options.map((o) => o.key))
  for (const key of Object.keys(file))
    if (!known.has(key)) mistakes.push(`${configFile}: unknown key "${key}"; known: ${[...known].join(', ')}`)
  splitHttpAddress(config, env, settings)
  crossChecks(config, mistakes)
  if (mistakes.length > 0) throw new SkeinError('bad_config', mistakes.join('\n'), { details: { mistakes } })
  return { config: config as Partial<NodeConfig>, settings }
}

/** What `--print-config` shows: one line per option, secrets hidden. */
export function printSettings(settings: readonly Setting[]): string {
  const shown = settings.map(({ option, value, source }) => [
    option.key,
    value === undefined ? '-' : option.isSecret === true ? '(hidden)' : JSON.stringify(value),
    source,
  ])
  const width = (i: number): number => Math.max(...shown.map((row) => (row[i] as string).length))
  return shown
    .map(
      ([key, value, source]) =>
        `${(key as string).padEnd(width(0))}  ${(value as string).padEnd(Math.min(50, width(1)))}  ${source}`,
    )
    .join('\n')
}

/** `id:host:port` and `name@host:port` also name a node; only the address is needed to dial. */
export function parsePeer(text: string): string | undefined {
  const match = /^(?:[A-Za-z0-9._-]+[@:])?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(text.trim())
  const port = Number(match?.[2])
  return match === null || port < 1 || port > 65_535 ? undefined : `${match[1]}:${port}`
}

function settle(
  option: Option,
  flags: FlagValues,
  env: Readonly<Record<string, string | undefined>>,
  file: Readonly<Record<string, unknown>>,
  fileName: string,
  mistakes: string[],
): Setting {
  const given = flags[option.key]
  if (given !== undefined) return parsed(option, given, `flag --${option.flag}`, mistakes)
  for (const name of [option.flag, ...(option.aliases ?? [])].map(
    (f) => `SKEIN_${f.toUpperCase().replaceAll('-', '_')}`,
  )) {
    const value = env[name]
    if (value !== undefined) return parsed(option, value, `environment ${name}`, mistakes)
  }
  for (const name of option.older ?? []) {
    const value = env[name]
    if (value !== undefined && value !== '') return parsed(option, value, `environment ${name}`, mistakes)
  }
  if (file[option.key] !== undefined) return parsed(option, file[option.key], `file ${fileName}`, mistakes)
  return { option, value: option.default, source: 'default' }
}

function parsed(option: Option, given: unknown, source: string, mistakes: string[]): Setting {
  const value = parse(option, given)
  if (value instanceof Error) mistakes.push(`${source}: ${value.message}`)
  return { option, value: value instanceof Error ? undefined : value, source }
}

function parse(option: Option, given: unknown): unknown {
  switch (option.kind) {
    case 'text':
      return typeof given === 'string' && given !== ''
        ? given
        : new Error(`text expected, got ${JSON.stringify(given)}`)
    case 'boolean':
      if (given === true || given === 'true' || given === '1') return true
      return given === false || given === 'false' || given === '0'
        ? false
        : new Error(`true or false expected, got ${JSON.stringify(given)}`)
    case 'choice':
      return option.choices?.includes(String(given)) === true
        ? given
        : new Error(`one of ${option.choices?.join(', ')} expected, got ${JSON.stringify(given)}`)
    case 'integer': {
      const n = typeof given === 'number' ? given : /^-?\d+$/.test(String(given)) ? Number(given) : Number.NaN
      const ok =
        Number.isSafeInteger(n) && n >= (option.min ?? 0) && n <= (option.max ?? Number.MAX_SAFE_INTEGER)
      return ok
        ? n
        : new Error(
            `a whole number from ${option.min} to ${option.max} expected, got ${JSON.stringify(given)}`,
          )
    }
    case 'list': {
      const items = asItems(given)
      if (option.key !== 'peers') return items
      const bad = items.filter((item) => parsePeer(item) === undefined)
      return bad.length > 0
        ? new Error(
            `peers are host:port, id:host:port or name@host:port, got ${bad.map((b) => JSON.stringify(b)).join(', ')}`,
          )
        : items.map((item) => parsePeer(item))
    }
    case 'labels': {
      if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given
      const pairs = asItems(given).map((item) => item.split('='))
      const bad = pairs.find((p) => p.length !== 2 || p[0] === '')
      return bad === undefined
        ? Object.fromEntries(pairs)
        : new Error(`labels are k=v, got ${JSON.stringify(bad.join('='))}`)
    }
  }
}

function asItems(given: unknown): string[] {
  const list = Array.isArray(given) ? given.map(String) : [String(given)]
  return list
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '')
}

function readConfigFile(path: string, mistakes: string[]): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
    mistakes.push(`file ${path}: a JSON object is expected`)
  } catch (error) {
    mistakes.push(`file ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
  return {}
}

/** ORIONIS_HTTP_ADDR says host and port in one; it counts where neither was given in a stronger way. */
function splitHttpAddress(
  config: Record<string, unknown>,
  env: Readonly<Record<string, string | undefined>>,
  settings: readonly Setting[],
): void {
  const text = env.ORIONIS_HTTP_ADDR
  const match = text === undefined ? null : /^(.*):(\d{1,5})$/.exec(text)
  if (match === null) return
  const isWeak = (key: string): boolean => settings.find((s) => s.option.key === key)?.source === 'default'
  if (isWeak('port')) config.port = Number(match[2])
  if (isWeak('host') && match[1] !== '') config.host = match[1]
}

function crossChecks(config: Record<string, unknown>, mistakes: string[]): void {
  const isLoopback = (host: unknown): boolean =>
    host === 'localhost' || host === '::1' || /^127\./.test(String(host))
  if (!isLoopback(config.peerHost) && config.cookie === undefined && config.cookieFile === undefined) {
    mistakes.push(
      `--peer-host ${String(config.peerHost)} can be reached from other machines: give the cluster a --cookie or --cookie-file`,
    )
  }
  if (!isLoopback(config.host) && config.insecure !== true) {
    mistakes.push(
      `--host ${String(config.host)} can be reached from other machines and this build has no tokens yet: bind loopback, or accept that with --insecure`,
    )
  }
}
