/** What a node finds or makes in its data directory before anything runs: the directory itself, its id, its boot, its locks. */
import { randomBytes } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { asBootId, type BootId } from '../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../core/kernel/error.js'
import type { LifeLock, LifeLocks } from '../ports/life-lock.js'

export interface NodeIdentity {
  readonly nodeId: string
  readonly bootId: BootId
  readonly dataDir: string
  /** Held by whichever process uses this data directory. */
  readonly directoryLock: LifeLock
  /** Held for this boot; others prove our death with it. */
  readonly lifeLock: LifeLock
}

const idPattern = /^[A-Za-z0-9._-]{1,64}$/

/** Errors: `data_dir_unusable`, `already_running`, `bad_config`. */
export function openIdentity(
  dataDirOption: string,
  wantedId: string | undefined,
  locks: LifeLocks,
): NodeIdentity {
  const dataDir = resolve(dataDirOption)
  makeDirectory(dataDir)
  const directoryLock = lockDirectory(dataDir, locks)
  try {
    const nodeId = settleId(dataDir, wantedId)
    const bootId = asBootId(randomBytes(8).toString('hex'))
    const lifeLock = locks.hold(join(dataDir, 'life', `${bootId}.life`))
    return { nodeId, bootId, dataDir, directoryLock, lifeLock }
  } catch (error) {
    directoryLock.release()
    throw error
  }
}

function makeDirectory(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK)
    const probe = join(dataDir, `.probe-${process.pid}`)
    // Root passes access checks even on a read-only filesystem; a write does not lie.
    writeDurably(probe, 'x', 'w')
    unlinkSync(probe)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new SkeinError(
      'data_dir_unusable',
      `data directory ${dataDir} cannot be written (${code ?? String(cause)}): give a writable one with --data-dir`,
      { cause, details: { data_dir: dataDir } },
    )
  }
}

function lockDirectory(dataDir: string, locks: LifeLocks): LifeLock {
  try {
    return locks.hold(join(dataDir, 'process.life'))
  } catch (cause) {
    if (!isSkeinError(cause) || cause.code !== 'already_running') throw cause
    throw new SkeinError(
      'already_running',
      `another process runs on data directory ${dataDir}: stop it, or give this node its own --data-dir`,
      { cause, details: { data_dir: dataDir } },
    )
  }
}

/** The id is given once and kept: a data directory belongs to one node. */
function settleId(dataDir: string, wantedId: string | undefined): string {
  const path = join(dataDir, 'node-id')
  if (wantedId !== undefined && !idPattern.test(wantedId)) {
    throw new SkeinError(
      'bad_config',
      `node id "${wantedId}": 1 to 64 characters of A-Z a-z 0-9 . _ - are allowed`,
      { details: { field: 'node-id' } },
    )
  }
  const kept = readIfThere(path)?.trim()
  if (kept !== undefined && kept !== '') {
    if (wantedId !== undefined && wantedId !== kept) {
      throw new SkeinError(
        'bad_config',
        `data directory ${dataDir} belongs to node "${kept}", not "${wantedId}": use another --data-dir or leave --node-id out`,
        { details: { field: 'node-id' } },
      )
    }
    return kept
  }
  const host = hostname()
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .slice(0, 40)
  const id = wantedId ?? `${host}-${randomBytes(3).toString('hex')}`
  writeDurably(path, `${id}\n`, 'w')
  return id
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function writeDurably(path: string, text: string, flag: 'w' | 'wx'): void {
  const fd = openSync(path, flag, 0o600)
  try {
    writeSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
