/**
 * How a handle learns that others have written: a small signal file that every writer touches *after* its commit,
 * watched with the system's file notification. (Notification on the -wal file itself comes before the commit is
 * visible.) A slow poll covers a writer that died between commit and signal, and lost notifications.
 *
 * Must not live here: what a pulse means.
 */
import { closeSync, constants, type FSWatcher, openSync, watch, writeSync } from 'node:fs'

const pollMs = 500
/** When the system grants no notification (limits used up), polling alone must be brisk. */
const pollAloneMs = 50

export class Pulse {
  readonly #path: string
  readonly #beat: () => void
  #fd: number | undefined
  #watcher: FSWatcher | undefined
  #poll: NodeJS.Timeout | undefined
  #queued: NodeJS.Immediate | undefined
  #awaited = 0

  /** `beat` must not throw. It comes at most once per turn of the event loop. */
  constructor(path: string, beat: () => void) {
    this.#path = path
    this.#beat = beat
  }

  start(): void {
    this.#fd = openSync(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600)
    this.#startPoll(pollMs)
    try {
      this.#watcher = watch(this.#path, { persistent: false }, () => this.#queue())
      this.#watcher.on('error', () => this.#watchFailed())
    } catch {
      this.#watchFailed()
    }
  }

  /** Wakes the handles of all processes, this one's too. */
  signal(): void {
    this.#queue()
    if (this.#fd === undefined) return
    try {
      // Always the same byte at the same place: the content means nothing, the write is what notifies.
      writeSync(this.#fd, '.', 0)
    } catch {
      // Their poll finds out.
    }
  }

  /** While somebody awaits the next change, the poll keeps the process alive. Returns the undo. */
  hold(): () => void {
    this.#awaited += 1
    this.#poll?.ref()
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#awaited -= 1
      if (this.#awaited === 0) this.#poll?.unref()
    }
  }

  stop(): void {
    this.#watcher?.close()
    clearInterval(this.#poll)
    clearImmediate(this.#queued)
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    this.#watcher = undefined
    this.#poll = undefined
    this.#queued = undefined
  }

  #queue(): void {
    if (this.#queued !== undefined || this.#poll === undefined) return
    this.#queued = setImmediate(() => {
      this.#queued = undefined
      this.#beat()
    })
  }

  #watchFailed(): void {
    this.#watcher?.close()
    this.#watcher = undefined
    if (this.#poll !== undefined) this.#startPoll(pollAloneMs)
  }

  #startPoll(everyMs: number): void {
    clearInterval(this.#poll)
    this.#poll = setInterval(() => this.#beat(), everyMs)
    if (this.#awaited === 0) this.#poll.unref()
  }
}
