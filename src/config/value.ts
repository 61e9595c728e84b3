/** One given value, from a flag, a variable or a file, to the value of its option, or an `Error` that says what is allowed. */
import type { Option } from './options.js'
import { parsePeer } from './peer-address.js'

export function parseValue(option: Option, given: unknown): unknown {
  const got = option.isSecret === true ? 'something else' : shown(given)
  switch (option.kind) {
    case 'text': {
      const { pattern, allowed } = option
      if (typeof given !== 'string') return new Error(`text expected, got ${got}`)
      if (pattern !== undefined)
        return pattern.test(given) ? given : new Error(`${allowed} expected, got ${got}`)
      return given === '' ? new Error('must not be empty') : given
    }
    case 'boolean':
      if (given === true || given === 'true' || given === '1') return true
      if (given === false || given === 'false' || given === '0') return false
      return new Error(`true or false expected, got ${got}`)
    case 'choice':
      if (typeof given === 'string' && option.choices.includes(given)) return given
      return new Error(`one of ${option.choices.join(', ')} expected, got ${got}`)
    case 'integer': {
      const { min, max, unit } = option
      const n = typeof given === 'string' && /^-?\d{1,15}$/.test(given) ? Number(given) : given
      if (typeof n === 'number' && Number.isInteger(n) && n >= min && n <= max) return n
      return new Error(
        `a whole number from ${min} to ${max}${unit === undefined ? '' : ` ${unit}`} expected, got ${got}`,
      )
    }
    case 'list':
      return items(given) ?? new Error(`a list of texts expected, got ${got}`)
    case 'addresses':
      return parseAddresses(given)
    case 'labels':
      return parseLabels(given)
  }
}

function parseAddresses(given: unknown): string[] | Error {
  const list = items(given)
  if (list === undefined) return new Error(`a list of addresses expected, got ${shown(given)}`)
  const parsed = list.map(parsePeer)
  const wrong = parsed.filter((one) => one instanceof Error)
  return wrong.length > 0 ? new Error(wrong.map((e) => e.message).join('; ')) : (parsed as string[])
}

function parseLabels(given: unknown): Record<string, string> | Error {
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
    const wrong = Object.entries(given).find(([key, value]) => key === '' || typeof value !== 'string')
    return wrong === undefined
      ? (given as Record<string, string>)
      : new Error(`labels are texts with a name, got ${shown(wrong[0])}: ${shown(wrong[1])}`)
  }
  const list = items(given)
  if (list === undefined) return new Error(`labels are k=v, got ${shown(given)}`)
  const wrong = list.filter((item) => item.indexOf('=') < 1)
  if (wrong.length > 0) return new Error(`labels are k=v, got ${wrong.map(shown).join(', ')}`)
  return Object.fromEntries(
    list.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]),
  )
}

/** Lists may be repeated, joined by commas, or both. */
function items(given: unknown): string[] | undefined {
  const list: unknown[] = Array.isArray(given) ? given : [given]
  if (!list.every((item) => typeof item === 'string')) return undefined
  return list
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '')
}

/** The password of a URL does not belong in messages and tables. */
export function withoutPassword(text: string): string {
  return text.replace(/(:\/\/[^/@:?#\s]*):\S*@/g, '$1:(hidden)@')
}

function shown(value: unknown): string {
  const text = withoutPassword(JSON.stringify(value) ?? String(value))
  return text.length > 120 ? `${text.slice(0, 120)}…` : text
}
