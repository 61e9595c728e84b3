/** How a guard comes to life: its directory, its file of last words, its environment without secrets, and a place for its socket. */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepareLocalDirectory } from '../../engines/sqlite/filesystem.js'
import { guardRun, markVariable } from './marked-processes.js'

const logBytesMax = 1_024 * 1_024
/** Of a socket's path: macOS takes 103 bytes, Linux 107. */
const socketPathBytesMax = 100
const socketDirectoryPrefix = 'socket-'
/** What the guard needs of the node's environment, and its agents inherit. */
const inherited = ['PATH', 'HOME', 'LANG', 'TZ']

export interface GuardHome {
  readonly agentsDir: string
  readonly directory: string
  readonly logFile: string
  /** Begins the mark of all that guards of this directory start. */
  readonly mark: string
}

/** Errors: `data_dir_unusable`. */
export function prepareHome(dataDir: string): GuardHome {
  const directory = join(dataDir, 'guard')
  const agentsDir = join(dataDir, 'agents')
  prepareLocalDirectory(directory)
  mkdirSync(agentsDir, { recursive: true, mode: 0o700 })
  const { dev, ino } = statSync(directory)
  return { agentsDir, directory, logFile: join(directory, 'guard.log'), mark: `${dev}:${ino}` }
}

/** A path in a directory of its own, 0700. Those of earlier guards are removed: none of them lives. */
export function makeSocketPath(directory: string): string {
  for (const name of readdirSync(directory))
    if (name.startsWith(socketDirectoryPrefix))
      rmSync(join(directory, name), { recursive: true, force: true })
  const isShort =
    Buffer.byteLength(join(directory, `${socketDirectoryPrefix}XXXXXX`, 's')) <= socketPathBytesMax
  const place = [directory, tmpdir(), '/tmp'].find(
    (candidate, i) =>
      (i > 0 || isShort) &&
      Buffer.byteLength(join(candidate, 'skein-guard-XXXXXX', 's')) <= socketPathBytesMax,
  )
  const prefix = place === directory ? socketDirectoryPrefix : 'skein-guard-'
  return join(mkdtempSync(join(place ?? '/tmp', prefix)), 's')
}

/** In a session of its own: what a terminal sends to the node does not reach it. Pipe 3 is the node's. */
export function launchGuard(entry: URL, home: GuardHome, mark: string): ChildProcess {
  const log = openLog(home.logFile)
  const env = Object.fromEntries(
    inherited.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  )
  try {
    // A small young generation: what passes through is short-lived, and this process should be small.
    const args = ['--max-semi-space-size=2', fileURLToPath(entry)]
    return spawn(process.execPath, args, {
      detached: true,
      env: { ...env, [markVariable]: `${mark}${guardRun}` },
      stdio: ['ignore', 'ignore', log, 'pipe'],
    })
  } finally {
    closeSync(log)
  }
}

/** The end of the guard's log. */
export function lastWords(logFile: string): string {
  return readFileSync(logFile, 'utf8').slice(-2_000).trim()
}

function openLog(path: string): number {
  const isFull = (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > logBytesMax
  if (isFull) renameSync(path, `${path}.1`)
  return openSync(path, 'a', 0o600)
}
