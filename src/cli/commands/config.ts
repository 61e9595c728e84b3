/** `skein config` and `skein maps`: the cluster's configuration, and replicated maps. */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { call, exchange, failureOf } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print, printJson, printTable } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

type Row = Record<string, unknown>

const pathOf = (key: string): string => `/api/config/${encodeURIComponent(key)}`
const mapPath = (map: string, key?: string): string =>
  `/api/maps/${encodeURIComponent(map)}${key === undefined ? '' : `/${encodeURIComponent(key)}`}`

export function addConfig(program: Command): void {
  const config = program
    .command('config')
    .description('versioned documents of the cluster: get, set, history, rollback')
  remote(
    config.command('get [key]').description('one document, or all of them and the settings in force'),
  ).action(get)
  remote(
    config
      .command('set <key> [value]')
      .description('write a document: JSON, or text where it is not; - or nothing reads standard input')
      .option('--if-version <n>', 'only if that is the present version; 0: only if there is none')
      .option('--note <text>', 'why'),
  ).action(set)
  remote(config.command('history <key>').description('the versions that are kept, the newest first')).action(
    history,
  )
  remote(
    config
      .command('rollback <key> <version>')
      .description('write the value of an earlier version again, as a new one')
      .option('--if-version <n>', 'only if that is the present version')
      .option('--note <text>', 'why'),
  ).action(rollback)
  addMaps(program)
}

function addMaps(program: Command): void {
  const maps = program.command('maps').description('replicated maps: ls, get, set, rm')
  remote(
    maps
      .command('ls [map]')
      .description('all maps, or the keys of one')
      .option('--limit <n>', 'how many keys', '100')
      .option('--after <key>', 'only those behind this one'),
  ).action(listMaps)
  remote(maps.command('get <map> <key>').description('what a key holds')).action(
    async (map: string, key: string, o: RemoteOptions) =>
      showEntry(o, (await call(clientOf(o), 'GET', mapPath(map, key))) as Row),
  )
  remote(
    maps
      .command('set <map> <key> [value]')
      .description('write a key: JSON, or text where it is not')
      .option('--add <json...>', 'elements into a set instead')
      .option('--remove <json...>', 'elements out of a set')
      .option('--increment <n>', 'to a counter instead'),
  ).action(setEntry)
  remote(maps.command('rm <map> <key>').description('delete a key')).action(
    async (map: string, key: string, o: RemoteOptions) => {
      const answer = await call(clientOf(o), 'DELETE', mapPath(map, key))
      if (o.json === true) printJson(answer)
      else print(`${key} is gone`)
    },
  )
}

async function get(key: string | undefined, o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', key === undefined ? '/api/config' : pathOf(key))) as Row
  if (o.json === true) printJson(answer)
  else if (key !== undefined) printJson(answer.value)
  else {
    printTable(
      ['KEY', 'VERSION', 'AT', 'BY', 'NOTE'],
      (answer.documents as Row[]).map((d) => [d.key, d.version, d.at, d.by, d.note]),
    )
    print('')
    printTable(['SETTING', 'IN FORCE'], Object.entries(answer.settings as Row))
  }
}

async function set(
  key: string,
  text: string | undefined,
  o: RemoteOptions & { readonly ifVersion?: string; readonly note?: string },
): Promise<void> {
  const given = text === undefined || text === '-' ? readFileSync(0, 'utf8') : text
  const body = { value: jsonOrText(given), ...(o.note === undefined ? {} : { note: o.note }) }
  await write(o, 'PUT', pathOf(key), body, `"${key}"`)
}

async function rollback(
  key: string,
  version: string,
  o: RemoteOptions & { readonly ifVersion?: string; readonly note?: string },
): Promise<void> {
  const body = {
    version: whole('<version>', version, 1, Number.MAX_SAFE_INTEGER),
    ...(o.note === undefined ? {} : { note: o.note }),
  }
  await write(o, 'POST', `${pathOf(key)}/rollback`, body, `"${key}"`)
}

/** Whoever names no version means whatever is there. */
async function write(
  o: RemoteOptions & { readonly ifVersion?: string },
  method: string,
  path: string,
  body: unknown,
  what: string,
): Promise<void> {
  const version =
    o.ifVersion === undefined ? undefined : whole('--if-version', o.ifVersion, 0, Number.MAX_SAFE_INTEGER)
  const headers: Record<string, string> =
    version === undefined
      ? { 'if-match': '*' }
      : version === 0
        ? { 'if-none-match': '*' }
        : { 'if-match': `"${version}"` }
  const sent = { type: 'application/json', text: JSON.stringify(body), headers }
  const answer = await exchange(clientOf(o), method, path, sent)
  if (answer.status >= 400) throw failureOf(answer)
  const document = answer.body as Row
  if (o.json === true) printJson(document)
  else print(`${what} is at version ${String(document.version)}`)
}

async function history(key: string, o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', `${pathOf(key)}/history`)) as Row
  if (o.json === true) printJson(answer)
  else
    printTable(
      ['VERSION', 'AT', 'BY', 'NOTE', 'VALUE'],
      (answer.versions as Row[]).map((v) => [v.version, v.at, v.by, v.note, short(v.value)]),
    )
}

async function listMaps(
  map: string | undefined,
  o: RemoteOptions & { readonly limit: string; readonly after?: string },
): Promise<void> {
  const query = new URLSearchParams({
    limit: String(whole('--limit', o.limit, 1, 1_000)),
    ...(o.after === undefined ? {} : { after: o.after }),
  })
  const path = map === undefined ? '/api/maps' : `${mapPath(map)}?${query}`
  const answer = (await call(clientOf(o), 'GET', path)) as Row
  if (o.json === true) printJson(answer)
  else if (map === undefined)
    printTable(
      ['MAP', 'KEYS', 'BYTES', 'DELETES KEPT'],
      (answer.maps as Row[]).map((m) => [m.name, m.keys, m.bytes, m.tombstones]),
    )
  else {
    printTable(
      ['KEY', 'KIND', 'BY', 'CONFLICTS', 'VALUE'],
      (answer.entries as Row[]).map((e) => [
        e.key,
        e.kind,
        e.node_id ?? '-',
        (e.conflicts as unknown[]).length || '',
        short(e.value),
      ]),
    )
    if (answer.next_cursor !== undefined) print(`more: --after ${String(answer.next_cursor)}`)
  }
}

async function setEntry(
  map: string,
  key: string,
  text: string | undefined,
  o: RemoteOptions & {
    readonly add?: readonly string[]
    readonly remove?: readonly string[]
    readonly increment?: string
  },
): Promise<void> {
  const isSet = o.add !== undefined || o.remove !== undefined
  if ([text !== undefined, isSet, o.increment !== undefined].filter(Boolean).length !== 1)
    throw new CliFailure(exitCodes.usage, 'give a value, --add and --remove, or --increment: one of them')
  const increment = Number(o.increment)
  if (o.increment !== undefined && !Number.isFinite(increment))
    throw new CliFailure(exitCodes.usage, `--increment: a number expected, got "${o.increment}"`)
  const body = isSet
    ? { add: (o.add ?? []).map(jsonOrText), remove: (o.remove ?? []).map(jsonOrText) }
    : o.increment === undefined
      ? { value: jsonOrText(text as string) }
      : { increment }
  showEntry(o, (await call(clientOf(o), 'PUT', mapPath(map, key), body)) as Row)
}

function showEntry(o: RemoteOptions, entry: Row): void {
  if (o.json === true) printJson(entry)
  else print(typeof entry.value === 'string' ? entry.value : JSON.stringify(entry.value))
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON: text as it is.
    return text
  }
}

function short(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
