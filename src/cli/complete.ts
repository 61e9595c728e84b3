/** What may stand where the cursor is: commands, options, and names that the node lists. Never fails: a shell waits for it. */
import type { Option } from 'commander'
import { call } from './client.js'
import { commandAt, defaultAddr, type SkeinCommand } from './command.js'
import { fixedNames, listedNames, type NameKind, namesIn } from './names.js'

export interface Candidate {
  readonly word: string
  readonly what: string
}

/** `files`: the shell knows best. */
export type Candidates = readonly Candidate[] | 'files'

/** Somebody waits for it with a finger on the key. */
const timeoutMs = 1_500
const candidatesMax = 500

/** Of the words behind `skein`, the last one the one at the cursor, perhaps empty. */
export async function complete(program: SkeinCommand, words: readonly string[]): Promise<Candidates> {
  const before = words.slice(0, -1)
  const current = words.at(-1) ?? ''
  const { command, rest } = commandAt(program, before)
  const found = await candidatesFor(command, rest, current)
  if (found === 'files') return found
  return found.filter(({ word }) => word.startsWith(current)).slice(0, candidatesMax)
}

async function candidatesFor(
  command: SkeinCommand,
  rest: readonly string[],
  current: string,
): Promise<Candidates> {
  const { operands, pending, given } = readRest(command, rest)
  if (pending !== undefined) return await valuesOf(command, pending, given)
  if (current.startsWith('-') && !rest.includes('--')) return optionsOf(command, given)
  if (command.children.length > 0 && operands === 0) return commandsBelow(command)
  const kind = command.argumentNames[operands]
  return kind === undefined ? [] : await namesOf(kind, given)
}

interface Rest {
  /** How many arguments are there. */
  readonly operands: number
  /** The option whose value is at the cursor. */
  readonly pending: Option | undefined
  /** By long flag, the last value. */
  readonly given: ReadonlyMap<string, string>
}

function readRest(command: SkeinCommand, rest: readonly string[]): Rest {
  const given = new Map<string, string>()
  let operands = 0
  let pending: Option | undefined
  let isPlain = false
  for (const word of rest) {
    if (pending !== undefined && !word.startsWith('-')) {
      given.set(pending.long ?? '', word)
      // One that takes several goes on until the next flag.
      if (!pending.variadic) pending = undefined
    } else if (word === '--') isPlain = true
    else if (word.startsWith('-') && !isPlain) {
      const [flag, value] = word.split('=', 2) as [string, string | undefined]
      const option = command.options.find((each) => each.long === flag || each.short === flag)
      given.set(option?.long ?? flag, value ?? '')
      pending =
        value === undefined && option !== undefined && (option.required || option.optional)
          ? option
          : undefined
    } else operands++
  }
  return { operands, pending, given }
}

function commandsBelow(command: SkeinCommand): readonly Candidate[] {
  return command.shown.map((each) => ({ word: each.name(), what: each.description() }))
}

function optionsOf(command: SkeinCommand, given: ReadonlyMap<string, string>): readonly Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter(({ long, variadic }) => long !== undefined && long !== null && (variadic || !given.has(long)))
    .map((option) => ({ word: option.long as string, what: option.description }))
}

async function valuesOf(
  command: SkeinCommand,
  option: Option,
  given: ReadonlyMap<string, string>,
): Promise<Candidates> {
  const choices = option.argChoices
  if (choices !== undefined) return choices.map((word) => ({ word, what: '' }))
  const kind = command.optionNames.get(option.attributeName())
  if (kind !== undefined) return await namesOf(kind, given)
  return /<(file|directory|module|path)>/.test(option.flags) ? 'files' : []
}

async function namesOf(kind: NameKind, given: ReadonlyMap<string, string>): Promise<Candidates> {
  if (kind === 'file') return 'files'
  const fixed = fixedNames(kind)
  const list = listedNames(kind)
  if (fixed !== undefined) return fixed.map((word) => ({ word, what: '' }))
  if (list === undefined) return []
  const addr = given.get('--addr') ?? process.env.SKEIN_ADDR ?? defaultAddr
  const client = {
    addr,
    token: given.get('--token') ?? process.env.SKEIN_TOKEN,
    tls: {
      tlsCa: given.get('--tls-ca') ?? process.env.SKEIN_TLS_CA,
      tlsCert: given.get('--tls-cert') ?? process.env.SKEIN_TLS_CERT,
      tlsKey: given.get('--tls-key') ?? process.env.SKEIN_TLS_KEY,
    },
  }
  try {
    const answer = await call(client, 'GET', list.path, undefined, timeoutMs)
    return namesIn(list, answer).map((word) => ({ word, what: list.what }))
  } catch {
    // No node, no names: a shell has no place for more words.
    return []
  }
}
