/**
 * Files that hold secrets: refused when others may read them, written so that a reader never sees half of one, and looked at while the
 * node runs, so that a change takes effect without a restart. What is in them is known elsewhere.
 */
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type ErrorCode, SkeinError } from '../core/kernel/error.js'

/** What a file holds, in the words of an error, and the code of that error. */
export interface SecretKind {
  readonly what: string
  readonly code: ErrorCode
}

/** Throws `kind.code` when the file is not there, cannot be read, or can be read by others. */
export function readSecretFile(path: string, kind: SecretKind): string {
  try {
    refuseOpenFile(path, kind)
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be read'
    throw new SkeinError(kind.code, `${kind.what} ${path} ${reason}`, { cause, details: { file: path } })
  }
}

/** A group may read what belongs to somebody else: that is how orchestrators hand secrets to a process. */
function refuseOpenFile(path: string, { what, code }: SecretKind): void {
  const { mode, uid } = statSync(path)
  const isOurs = process.getuid === undefined || uid === process.getuid()
  if ((mode & (isOurs ? 0o077 : 0o037)) === 0 || process.platform === 'win32') return
  throw new SkeinError(code, `${what} ${path} can be read by others: chmod 600 ${path}`, {
    details: { file: path, mode: (mode & 0o777).toString(8) },
  })
}

/** Fails with `EEXIST` when there is a file already. */
export function createSecretFile(path: string, text: string): void {
  writeDurably(path, text, 'wx')
}

/** One write at the end, so that two who append at once both get in. */
export function appendSecretFile(path: string, text: string): void {
  writeDurably(path, text, 'a')
}

/** Readers see the old text or the new one. */
export function replaceSecretFile(path: string, text: string): void {
  const fresh = join(dirname(path), `.${basename(path)}.${process.pid}.new`)
  try {
    writeDurably(fresh, text, 'w')
    renameSync(fresh, path)
  } catch (error) {
    removeIfThere(fresh)
    throw error
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // It was never made.
  }
}

function writeDurably(path: string, text: string, flag: 'w' | 'wx' | 'a'): void {
  const fd = openSync(path, flag, 0o600)
  try {
    if (flag === 'w') fchmodSync(fd, 0o600)
    writeSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

const defaultPeriodMs = 1_000

/** Asks once a second whether any of the files is another than before; links are followed. */
export class FileWatch {
  private readonly paths: readonly string[]
  private readonly onChange: () => void
  private readonly timer: NodeJS.Timeout
  private seen = ''
  private isLooking = false

  constructor(paths: readonly string[], onChange: () => void, periodMs = defaultPeriodMs) {
    this.paths = paths
    this.onChange = onChange
    this.seen = paths.map((path) => marksOf(() => statSync(path))).join(' ')
    this.timer = setInterval(() => void this.look(), periodMs)
    this.timer.unref()
  }

  close(): void {
    clearInterval(this.timer)
  }

  private async look(): Promise<void> {
    if (this.isLooking) return
    this.isLooking = true
    const found = await Promise.all(this.paths.map((path) => stat(path).catch(() => undefined)))
    this.isLooking = false
    const marks = found.map((file) => marksOf(() => file)).join(' ')
    if (marks === this.seen) return
    this.seen = marks
    this.onChange()
  }
}

interface FileMarks {
  readonly mtimeMs: number
  readonly ctimeMs: number
  readonly size: number
  readonly ino: number
}

/** `absent` when it cannot be asked. */
function marksOf(read: () => FileMarks | undefined): string {
  try {
    const file = read()
    return file === undefined ? 'absent' : `${file.ino}:${file.size}:${file.mtimeMs}:${file.ctimeMs}`
  } catch {
    return 'absent'
  }
}
