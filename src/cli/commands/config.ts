/** `skein config`: the cluster's configuration, in versioned documents. */
import { readFileSync } from 'node:fs'
import { bodyOf, call, exchange } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print, printJson, short, table } from '../output.js'
import { clientOf, jsonOrText, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'

type Row = Record<string, unknown>

const pathOf = (key: string | undefined): string => `/api/config/${encodeURIComponent(key ?? '')}`

interface WriteOptions extends RemoteOptions {
  readonly ifVersion?: string
  readonly note?: string
}

export function addConfig(program: SkeinCommand): void {
  const config = program
    .command('config')
    .description('versioned documents of the cluster: get, set, history, rollback')
    .details(
      'The document `skein` holds settings of the runtime, in force on every node at once: docs/CONFIG.md.',
    )
    .lists('get')
  shows<Row>(
    config
      .command('get [key]')
      .description('one document, or all of them and the settings in force')
      .names('config')
      .example('skein config get', 'all documents, and the settings in force')
      .example('skein config get skein', 'its value, as JSON')
      .example('skein config get skein --json', 'with its version, time and author'),
    {
      ask: async (o, key) =>
        (await call(clientOf(o), 'GET', key === undefined ? '/api/config' : pathOf(key))) as Row,
      lines: (answer, _, key) =>
        key === undefined ? listLines(answer) : [JSON.stringify(answer.value, null, 2)],
    },
  )
  remote(
    config
      .command('set <key> [value]')
      .description('write a document: JSON, or text where it is not; - or nothing reads standard input')
      .names('config')
      .option('--if-version <n>', 'only if that is the present version; 0: only if there is none')
      .option('--note <text>', 'why')
      .example('skein config set limits \'{"uploads": 10}\' --note "as agreed"', 'a new version')
      .example(
        'skein config set limits - --if-version 3 < limits.json',
        'exit code 5 when it is another by now',
      ),
  ).action(set)
  shows<Row>(
    config
      .command('history <key>')
      .description('the versions that are kept, the newest first')
      .names('config')
      .example('skein config history skein', 'who changed what, when and why'),
    {
      ask: async (o, key) => (await call(clientOf(o), 'GET', `${pathOf(key)}/history`)) as Row,
      lines: ({ versions }) =>
        table(
          ['VERSION', 'AT', 'BY', 'NOTE', 'VALUE'],
          (versions as Row[]).map((v) => [v.version, v.at, v.by, v.note, short(v.value)]),
        ),
    },
  )
  remote(
    config
      .command('rollback <key> <version>')
      .description('write the value of an earlier version again, as a new one')
      .names('config')
      .option('--if-version <n>', 'only if that is the present version')
      .option('--note <text>', 'why')
      .example('skein config rollback skein 4', 'as it was at version 4'),
  ).action(rollback)
}

function listLines({ documents, settings }: Row): readonly string[] {
  return [
    ...table(
      ['KEY', 'VERSION', 'AT', 'BY', 'NOTE'],
      (documents as Row[]).map((d) => [d.key, d.version, d.at, d.by, d.note]),
    ),
    '',
    ...table(['SETTING', 'IN FORCE'], Object.entries(settings as Row)),
  ]
}

async function set(key: string, text: string | undefined, o: WriteOptions): Promise<void> {
  const given = text === undefined || text === '-' ? fromStandardInput() : text
  const body = { value: jsonOrText(given), ...(o.note === undefined ? {} : { note: o.note }) }
  await write(o, 'PUT', pathOf(key), body, `"${key}"`)
}

function fromStandardInput(): string {
  if (process.stdin.isTTY === true)
    throw new CliFailure(exitCodes.usage, 'the value is missing: give it, or send it to standard input', {
      code: 'usage',
    })
  return readFileSync(0, 'utf8')
}

async function rollback(key: string, version: string, o: WriteOptions): Promise<void> {
  const body = {
    version: whole('<version>', version, 1, Number.MAX_SAFE_INTEGER),
    ...(o.note === undefined ? {} : { note: o.note }),
  }
  await write(o, 'POST', `${pathOf(key)}/rollback`, body, `"${key}"`)
}

/** Whoever names no version means whatever is there. */
async function write(
  o: WriteOptions,
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
  const document = (await bodyOf(clientOf(o), path, await exchange(clientOf(o), method, path, sent))) as Row
  if (o.json === true) printJson(document)
  else print(`${what} is at version ${String(document.version)}`)
}
