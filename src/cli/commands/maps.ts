/** `skein maps`: replicated maps, which every node holds. */
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print, printJson, short, table } from '../output.js'
import { clientOf, jsonOrText, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'

type Row = Record<string, unknown>

const mapPath = (map: string | undefined, key?: string): string =>
  `/api/maps/${encodeURIComponent(map ?? '')}${key === undefined ? '' : `/${encodeURIComponent(key)}`}`

export function addMaps(program: SkeinCommand): void {
  const maps = program.command('maps').description('replicated maps: ls, get, set, rm').lists('ls')
  shows<Row, RemoteOptions & { limit: string; after?: string }>(
    maps
      .command('ls [map]')
      .description('all maps, or the keys of one')
      .names('map')
      .option('--limit <n>', 'how many keys', '100')
      .option('--after <key>', 'only those behind this one')
      .example('skein maps ls', 'their sizes')
      .example('skein maps ls presence', 'its keys, values and conflicts'),
    {
      ask: async (o, map) => {
        const limit = String(whole('--limit', o.limit, 1, 1_000))
        const query = new URLSearchParams({ limit, ...(o.after === undefined ? {} : { after: o.after }) })
        const path = map === undefined ? '/api/maps' : `${mapPath(map)}?${query}`
        return (await call(clientOf(o), 'GET', path)) as Row
      },
      lines: (answer, _, map) => (map === undefined ? mapLines(answer) : keyLines(answer)),
    },
  )
  shows<Row>(
    maps
      .command('get <map> <key>')
      .description('what a key holds')
      .names('map')
      .example('skein maps get presence alice', 'its value'),
    {
      ask: async (o, map, key) => (await call(clientOf(o), 'GET', mapPath(map, key))) as Row,
      lines: (entry) => [textOf(entry)],
    },
  )
  remote(
    maps
      .command('set <map> <key> [value]')
      .description('write a key: JSON, or text where it is not')
      .names('map')
      .option('--add <json...>', 'elements into a set instead')
      .option('--remove <json...>', 'elements out of a set')
      .option('--increment <n>', 'to a counter instead')
      .example('skein maps set presence alice online', 'a value')
      .example('skein maps set tags post-1 --add red green', 'a set')
      .example('skein maps set visits home --increment 1', 'a counter'),
  ).action(setEntry)
  remote(
    maps
      .command('rm <map> <key>')
      .description('delete a key')
      .names('map')
      .example('skein maps rm presence alice', 'on every node'),
  ).action(async (map: string, key: string, o: RemoteOptions) => {
    const answer = await call(clientOf(o), 'DELETE', mapPath(map, key))
    if (o.json === true) printJson(answer)
    else print(`${key} is gone`)
  })
}

function mapLines({ maps }: Row): readonly string[] {
  return table(
    ['MAP', 'KEYS', 'BYTES', 'DELETES KEPT'],
    (maps as Row[]).map((m) => [m.name, m.keys, m.bytes, m.tombstones]),
  )
}

function keyLines({ entries, next_cursor }: Row): readonly string[] {
  const lines = table(
    ['KEY', 'KIND', 'BY', 'CONFLICTS', 'VALUE'],
    (entries as Row[]).map((e) => [
      e.key,
      e.kind,
      e.node_id ?? '-',
      (e.conflicts as unknown[]).length || '',
      short(e.value),
    ]),
  )
  return next_cursor === undefined ? lines : [...lines, `more: --after ${String(next_cursor)}`]
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
  else print(textOf(entry))
}

function textOf({ value }: Row): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
