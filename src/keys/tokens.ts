/**
 * Bearer tokens of the HTTP surface and the file that knows them. A token is 32 random bytes; the file holds its SHA-256 with a role and a
 * name, one a line, so that whoever reads the file cannot use it. A plain hash is enough for what cannot be guessed: slow ones protect
 * passwords, which these are not, and would cost every request their time.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { existsSync } from 'node:fs'
import { SkeinError } from '../core/kernel/error.js'
import { type AccessRole, accessRoles } from './roles.js'
import { appendSecretFile, FileWatch, readSecretFile, replaceSecretFile } from './secret-file.js'

export interface TokenEntry {
  readonly role: AccessRole
  readonly name: string
  /** SHA-256 of the token. */
  readonly hash: Buffer
}

/** For scanners of repositories and logs, which look for such beginnings. */
const prefix = 'skein_'
const secretBytes = 32
const tokensMax = 1_024
const namePattern = /^[A-Za-z0-9._-]{1,64}$/
export const tokenNameAllowed = '1 to 64 of A-Z a-z 0-9 . _ -'
const kind = { what: 'token file', code: 'bad_config' } as const
const header = '# Tokens of the HTTP surface: role, name, hash. Written by `skein token create`.\n'

export function isTokenName(name: string): boolean {
  return namePattern.test(name)
}

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** Every line that is not understood is a mistake, with its number. */
export function parseTokens(text: string): { readonly entries: TokenEntry[]; readonly mistakes: string[] } {
  const entries: TokenEntry[] = []
  const mistakes: string[] = []
  text.split('\n').forEach((line, at) => {
    const trimmed = line.trim()
    if (trimmed === '' || trimmed.startsWith('#')) return
    const entry = parseLine(trimmed)
    if (typeof entry === 'string') mistakes.push(`line ${at + 1}: ${entry}`)
    else if (entries.some(({ name }) => name === entry.name))
      mistakes.push(`line ${at + 1}: the name "${entry.name}" is taken by a line above`)
    else entries.push(entry)
  })
  if (entries.length > tokensMax) mistakes.push(`${entries.length} tokens; ${tokensMax} are allowed`)
  return { entries, mistakes }
}

/** The line itself is not repeated in the error: somebody may have put a token there. */
function parseLine(line: string): TokenEntry | string {
  const [role, name, hash, ...rest] = line.split(/\s+/)
  const known = accessRoles.find((each) => each === role)
  if (known === undefined) return `it must begin with a role: ${accessRoles.join(', ')}`
  if (name === undefined || !isTokenName(name)) return `the name after the role may have ${tokenNameAllowed}`
  const hex = /^sha256:([0-9a-f]{64})$/.exec(hash ?? '')?.[1]
  if (hex === undefined || rest.length > 0)
    return 'after the name comes sha256: and 64 hexadecimal digits, nothing else'
  return { role: known, name, hash: Buffer.from(hex, 'hex') }
}

/** Throws `bad_config` with every mistake. */
export function loadTokens(path: string): TokenEntry[] {
  const { entries, mistakes } = parseTokens(readSecretFile(path, kind))
  if (mistakes.length === 0) return entries
  throw new SkeinError(kind.code, `${kind.what} ${path}: ${mistakes.join('; ')}`, {
    details: { file: path, mistakes },
  })
}

/** Adds a token and returns its secret, which nobody can see again. Throws `bad_config`, `conflict` when the name is taken. */
export function createToken(path: string, role: AccessRole, name: string): string {
  const isNew = !existsSync(path)
  if (!isNew && loadTokens(path).some((entry) => entry.name === name))
    throw new SkeinError(
      'conflict',
      `a token named "${name}" is in ${path}: remove it first, or choose another name`,
    )
  const secret = prefix + randomBytes(secretBytes).toString('base64url')
  const line = `${role} ${name} sha256:${hashToken(secret).toString('hex')}\n`
  const isCutShort = !isNew && !/(^|\n)$/.test(readSecretFile(path, kind))
  appendSecretFile(path, `${isNew ? header : ''}${isCutShort ? '\n' : ''}${line}`)
  return secret
}

/** Throws `not_found`. Nodes that watch the file refuse the token within a second or two. */
export function removeToken(path: string, name: string): void {
  if (!loadTokens(path).some((entry) => entry.name === name))
    throw new SkeinError('not_found', `no token named "${name}" in ${path}`)
  const kept = readSecretFile(path, kind)
    .split('\n')
    .filter((line) => line.trim().startsWith('#') || line.trim().split(/\s+/)[1] !== name)
  replaceSecretFile(path, kept.join('\n'))
}

/** Tokens by their hash. Which of them a guess resembles cannot be measured: the map sees a hash of the guess, the rest is compared in constant time. */
class TokenIndex {
  readonly byName = new Map<string, TokenEntry>()
  private readonly byHash = new Map<number, TokenEntry[]>()

  constructor(entries: readonly TokenEntry[]) {
    for (const entry of entries) {
      this.byName.set(entry.name, entry)
      const bucket = entry.hash.readUInt32LE(0)
      this.byHash.set(bucket, [...(this.byHash.get(bucket) ?? []), entry])
    }
  }

  find(token: string): TokenEntry | undefined {
    const hash = hashToken(token)
    return this.byHash.get(hash.readUInt32LE(0))?.find((entry) => timingSafeEqual(entry.hash, hash))
  }
}

export interface TokenNotes {
  changed(tokens: number): void
  /** The file cannot be used as it is now; what was read before stays in force. */
  refused(detail: string): void
}

/** The tokens of a file, as it is now. Once it held one, an emptied file means that nobody may do anything, not that anybody may. */
export class TokenKeeper {
  readonly path: string
  private readonly watch: FileWatch
  private index: TokenIndex
  private held: boolean

  /** Throws what `loadTokens` throws. */
  constructor(path: string, notes: TokenNotes, periodMs?: number) {
    this.path = path
    this.index = new TokenIndex(loadTokens(path))
    this.held = this.index.byName.size > 0
    this.watch = new FileWatch([path], () => this.reload(notes), periodMs)
  }

  /** Whether callers must show a token at all. */
  get isRequired(): boolean {
    return this.held
  }

  find(token: string): TokenEntry | undefined {
    return this.index.find(token)
  }

  byName(name: string): TokenEntry | undefined {
    return this.index.byName.get(name)
  }

  close(): void {
    this.watch.close()
  }

  private reload(notes: TokenNotes): void {
    try {
      this.index = new TokenIndex(loadTokens(this.path))
    } catch (error) {
      notes.refused(error instanceof Error ? error.message : String(error))
      return
    }
    const { size } = this.index.byName
    if (size > 0) this.held = true
    notes.changed(size)
  }
}
