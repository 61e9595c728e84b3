/** The group commit of `engines/journal/commit-queue.ts`, written by the engine in its thread. */
import { CommitQueue as AnyCommitQueue, type CommitQueueOptions } from '../../engines/journal/commit-queue.js'
import { fromErrorData } from './protocol.js'
import type { EngineRunner } from './run-engine.js'

export class CommitQueue extends AnyCommitQueue {
  constructor(options: CommitQueueOptions, runner: EngineRunner) {
    super(options, async (commit) => {
      // The bytes move to the other thread instead of being copied.
      const { batch, records } = commit
      const moved = [batch.numbers.buffer, batch.bytes.buffer, records.numbers.buffer, records.bytes.buffer]
      const results = await runner.call('commit', [commit], moved)
      return results.map((error) => (error === null ? null : fromErrorData(error)))
    })
  }
}
