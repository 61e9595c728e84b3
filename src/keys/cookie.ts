/**
 * The cookie: the secret that makes nodes one cluster. Given as text, or in a file of one line, or two while it is being changed: the first is
 * shown to others, all are accepted. The file is looked at while the node runs. There is no default; a host's nodes share one made at random.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { SkeinError } from '../core/kernel/error.js'
import { createSecretFile, FileWatch, readSecretFile, replaceSecretFile } from './secret-file.js'

const kind = { what: 'cookie file', code: 'bad_cookie' } as const
const bytesMin = 8
const bytesMax = 1_024
/** Shorter ones can be guessed from a recorded handshake. */
export const cookieBytesWanted = 32
const cookiesMax = 2

export function makeCookie(): string {
  return randomBytes(cookieBytesWanted).toString('hex')
}

/** Throws `bad_cookie`; never says what is in the file. */
export function parseCookies(text: string, where: string): Uint8Array[] {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  if (lines.length === 0 || lines.length > cookiesMax) {
    throw new SkeinError(
      kind.code,
      `${where} has ${lines.length} lines: one cookie is wanted, or two while it is being changed`,
    )
  }
  if (new Set(lines).size < lines.length)
    throw new SkeinError(kind.code, `${where} has the same cookie twice`)
  return lines.map((line) => checkCookie(line, where))
}

function checkCookie(text: string, where: string): Uint8Array {
  const cookie = Buffer.from(text)
  if (cookie.length >= bytesMin && cookie.length <= bytesMax) return cookie
  throw new SkeinError(
    kind.code,
    `the cookie in ${where} has ${cookie.length} bytes; ${bytesMin} to ${bytesMax} are allowed, ${cookieBytesWanted} random ones are wanted (skein cookie)`,
  )
}

/** The file's own text, checked. Throws `bad_cookie`. */
export function readCookieFile(path: string): Uint8Array[] {
  return parseCookies(readSecretFile(path, kind), path)
}

/** False when there is a file already. */
export function createCookieFile(path: string): boolean {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  try {
    createSecretFile(path, `${makeCookie()}\n`)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new SkeinError('data_dir_unusable', `cookie file ${path} cannot be made`, { cause: error })
  }
}

/** The three steps of changing a cookie without a gap; each must have reached every node before the next. */
export const rotationSteps = ['add', 'use', 'drop'] as const
export type RotationStep = (typeof rotationSteps)[number]

/** `add` a new cookie that is accepted but not shown; `use` it, the old one still accepted; `drop` the old one. Throws `bad_cookie`, `conflict`. */
export function rotateCookieFile(path: string, step: RotationStep): void {
  const [first, second] = readCookieFile(path).map((cookie) => Buffer.from(cookie).toString())
  const isTwo = second !== undefined
  if (isTwo === (step === 'add')) {
    const detail = isTwo ? 'has two cookies already: use or drop first' : 'has one cookie: add another first'
    throw new SkeinError('conflict', `${path} ${detail}`)
  }
  const lines = { add: [first, makeCookie()], use: [second, first], drop: [first] }[step]
  replaceSecretFile(path, `${lines.join('\n')}\n`)
}

export interface CookieSource {
  readonly cookie?: string | undefined
  readonly cookieFile?: string | undefined
  /** Where the nodes of this host share a file when nothing is given. */
  readonly sharedFile: string
}

export interface CookieNotes {
  changed(cookies: readonly Uint8Array[]): void
  /** The file cannot be used as it is now; what was read before stays in force. */
  refused(detail: string): void
  weak(bytes: number): void
}

/** The cookies in force. The array is replaced, never changed. */
export class CookieKeeper {
  private cookies: readonly Uint8Array[]
  private readonly notes: CookieNotes
  private readonly watch: FileWatch | undefined

  /** Throws `bad_cookie`, `data_dir_unusable`. */
  constructor(source: CookieSource, notes: CookieNotes, periodMs?: number) {
    this.notes = notes
    if (source.cookie !== undefined) this.cookies = [checkCookie(source.cookie, '--cookie')]
    else {
      const path = source.cookieFile ?? source.sharedFile
      if (source.cookieFile === undefined) createCookieFile(path)
      this.cookies = readCookieFile(path)
      this.watch = new FileWatch([path], () => this.reload(path), periodMs)
    }
    this.warn()
  }

  get current(): readonly Uint8Array[] {
    return this.cookies
  }

  close(): void {
    this.watch?.close()
  }

  private reload(path: string): void {
    try {
      const found = readCookieFile(path)
      const isSame =
        found.length === this.cookies.length &&
        found.every((cookie, at) => Buffer.compare(cookie, this.cookies[at] as Uint8Array) === 0)
      if (isSame) return
      this.cookies = found
    } catch (error) {
      this.notes.refused(error instanceof Error ? error.message : String(error))
      return
    }
    this.warn()
    this.notes.changed(this.cookies)
  }

  private warn(): void {
    for (const { length } of this.cookies) if (length < cookieBytesWanted) this.notes.weak(length)
  }
}
