/** The flags of `start`, made from the option schema, and back from what commander parsed to values by option. */
import { Option as FlagOption } from 'commander'
import { type Option, options } from '../config/options.js'
import type { FlagValue } from '../config/resolve.js'
import type { SkeinCommand } from './command.js'
import { CliFailure, exitCodes } from './exit.js'

export function addFlags(command: SkeinCommand): void {
  for (const option of options) {
    const isMany = option.kind === 'list' || option.kind === 'addresses' || option.kind === 'labels'
    const word = /(^|-)(file|dir|cert|key|ca)$/.test(option.flag) ? 'file' : 'value'
    const value = option.kind === 'boolean' ? '' : isMany ? ` <${word}...>` : ` <${word}>`
    const flag = new FlagOption(`--${option.flag}${value}`, `${option.doc}${rangeOf(option)}`)
    // For completion only: what is wrong with a value is told together with all else that is wrong.
    if (option.kind === 'choice') flag.argChoices = [...option.choices]
    command.addOption(flag)
    for (const alias of option.aliases ?? []) command.option(`--${alias}${value}`, `same as --${option.flag}`)
  }
}

export function flagsOf(
  given: Readonly<Record<string, unknown>>,
): Readonly<Partial<Record<string, FlagValue>>> {
  const flags: Partial<Record<string, FlagValue>> = {}
  for (const option of options) {
    for (const flag of [option.flag, ...(option.aliases ?? [])]) {
      const value = given[camel(flag)] as FlagValue | undefined
      const before = flags[option.key]
      if (value === undefined) continue
      if (before === undefined) flags[option.key] = value
      else if (Array.isArray(before) && Array.isArray(value)) flags[option.key] = [...before, ...value]
      else throw new CliFailure(exitCodes.usage, `--${option.flag} and --${flag} are the same flag: give one`)
    }
  }
  return flags
}

function rangeOf(option: Option): string {
  const standard = JSON.stringify(option.default)
  const ending = standard === undefined || option.default === '' ? '' : `, default ${standard}`
  if (option.kind === 'choice') return ` (${option.choices.join(', ')}${ending})`
  if (option.kind === 'integer')
    return ` (${option.min} to ${option.max}${option.unit === undefined ? '' : ` ${option.unit}`}${ending})`
  return ending === '' ? '' : ` (${ending.slice(2)})`
}

function camel(flag: string): string {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
