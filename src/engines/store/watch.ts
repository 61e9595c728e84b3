/**
 * Watching as reading the log with a cursor. A watcher keeps only the next revision it wants; what it has not pulled
 * yet stays in the store's log. So a slow watcher costs no memory, and the bound of its buffer is the history that
 * the store keeps: when compaction passes the cursor, the watch ends with `compacted`.
 *
 * Must not live here: how a page is read, or how a driver learns that the store changed.
 */
import type { Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { WatchBatch } from '../../core/kernel/store-types.js'

/** What a read of the log from `next` on found. */
export interface LogPage {
  readonly batches: readonly WatchBatch[]
  /** Where to read on. Past the store's revision when everything has been seen. */
  readonly next: Revision
}

/** Wakes the watches of one handle when the store has moved on. */
export class RevisionBell {
  #head: Revision = 0n
  #closed = false
  readonly #waiting = new Set<() => void>()

  get head(): Revision {
    return this.#head
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Says that revision `head` is visible. */
  ring(head: Revision): void {
    if (head <= this.#head) return
    this.#head = head
    this.#wakeAll()
  }

  close(): void {
    this.#closed = true
    this.#wakeAll()
  }

  /** Resolves when revision `rev` is visible, the bell is closed or the signal aborts. */
  reached(rev: Revision, signal: AbortSignal): Promise<void> {
    if (this.#head >= rev || this.#closed || signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = () => {
        if (this.#head < rev && !this.#closed && !signal.aborted) return
        this.#waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiting]) wake()
  }
}

export interface LogCursor {
  readonly bell: RevisionBell
  /** First revision wanted. */
  readonly from: Revision
  readonly signal: AbortSignal
  /** Throws `compacted` when `next` is no longer kept. */
  readPage(next: Revision): Promise<LogPage>
}

/** Yields batches in order without gaps until the signal aborts or the bell closes. */
export async function* followLog(cursor: LogCursor): AsyncGenerator<WatchBatch, void, undefined> {
  const { bell, signal } = cursor
  const ended = () => signal.aborted || bell.closed
  let next = cursor.from
  while (!ended()) {
    let page: LogPage
    try {
      page = await cursor.readPage(next)
    } catch (error) {
      if (ended()) return
      throw error
    }
    for (const batch of page.batches) {
      if (ended()) return
      yield batch
    }
    next = page.next
    if (page.batches.length === 0) await bell.reached(next, signal)
  }
}

export function compacted(asked: Revision, compactRev: Revision): SkeinError {
  return new SkeinError('compacted', `revision ${asked} is no longer kept; list again and watch from there`, {
    details: { asked, compactRev },
  })
}
