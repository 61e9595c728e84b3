/**
 * Where the password comes from: the URL, `password-file`, PGPASSWORD, a pgpass file (PGPASSFILE or ~/.pgpass); the first
 * that is there. Files are read at every connect, so that a password can be changed while nodes run.
 *
 * The form of a pgpass file: PostgreSQL documentation, "The Password File".
 */
import { readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'

/** Undefined: connect without one. Errors: `bad_config`. */
export type PasswordSource = (
  host: string,
  port: number,
  database: string,
  user: string,
) => string | undefined

export function passwordSourceOf(
  inline: string | undefined,
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): PasswordSource {
  if (inline !== undefined) return () => inline
  if (file !== undefined) return () => readPasswordFile(file)
  const fromEnvironment = env.PGPASSWORD
  if (fromEnvironment !== undefined) return () => fromEnvironment
  const named = env.PGPASSFILE
  return (...who) => fromPgpass(named ?? join(homedir(), '.pgpass'), named !== undefined, who)
}

function readPasswordFile(path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw unusable(`password-file: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function fromPgpass(
  path: string,
  mustExist: boolean,
  who: readonly [string, number, string, string],
): string | undefined {
  let text: string
  try {
    if ((statSync(path).mode & 0o077) !== 0) {
      throw unusable(`${path} can be read by others: chmod 600 it`)
    }
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof SkeinError || mustExist) {
      throw error instanceof SkeinError ? error : unusable(`PGPASSFILE: ${String(error)}`)
    }
    return undefined
  }
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const fields = splitFields(line)
    if (fields.length !== 5) continue
    if (who.every((value, i) => fields[i] === '*' || fields[i] === String(value))) return fields[4]
  }
  return undefined
}

/** Fields are parted by colons; a backslash takes the next character as it is. */
function splitFields(line: string): string[] {
  const fields: string[] = []
  let field = ''
  for (let i = 0; i < line.length; i++) {
    const char = line[i] as string
    if (char === ':' && fields.length < 4) {
      fields.push(field)
      field = ''
    } else if (char === '\\' && i + 1 < line.length) field += line[++i]
    else field += char
  }
  fields.push(field)
  return fields
}

function unusable(why: string): SkeinError {
  return new SkeinError('bad_config', `the password of the journal's PostgreSQL: ${why}`, {
    details: { field: 'journal' },
  })
}
