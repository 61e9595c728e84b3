/**
 * Bytes from outside to JSON values. `JSON.parse` takes millions of nested brackets without complaint, and whoever
 * serialises the result again dies of it; so depth is measured on the bytes first. Pure.
 */
import { isUtf8 } from 'node:buffer'
import { HttpProblem } from './problem.js'

export const jsonDepthMax = 64

const quote = 0x22
const backslash = 0x5c

/** True when brackets nest deeper than `depthMax`. Works on broken JSON as well; never throws. */
export function isTooDeep(bytes: Uint8Array, from = 0, to = bytes.length, depthMax = jsonDepthMax): boolean {
  let depth = 0
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number
    if (byte === quote) {
      for (i++; i < to && bytes[i] !== quote; i++) if (bytes[i] === backslash) i++
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > depthMax) return true
    } else if (byte === 0x5d || byte === 0x7d) depth--
  }
  return false
}

/** One JSON text in `bytes[from, to)`; throws the problem that says what is wrong with it. */
export function parseJson(bytes: Buffer, from = 0, to = bytes.length, where = 'body'): unknown {
  if (isTooDeep(bytes, from, to)) {
    throw new HttpProblem('too_deep', `${where}: JSON nests deeper than ${jsonDepthMax} levels`, {
      details: { field: where, depth_max: jsonDepthMax },
    })
  }
  try {
    return JSON.parse(bytes.toString('utf8', from, to))
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'not JSON'
    throw new HttpProblem('invalid_argument', `${where}: malformed JSON; ${printable(reason)}`, {
      details: { field: where, allowed: 'JSON' },
    })
  }
}

/** Refuses what would silently turn into replacement characters. */
export function requireUtf8(bytes: Uint8Array): void {
  if (!isUtf8(bytes))
    throw new HttpProblem('invalid_argument', 'body: not UTF-8', {
      details: { field: 'body', allowed: 'UTF-8' },
    })
}

/** First byte that is not JSON white space, undefined when there is none. */
export function firstByte(bytes: Uint8Array): number | undefined {
  for (const byte of bytes) if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return byte
  return undefined
}

export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** An own member of an object from outside; `constructor` and the like are members only if they were sent. */
export function member(value: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(value, name) ? value[name] : undefined
}

function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ').slice(0, 160)
}
