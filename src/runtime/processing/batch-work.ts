/** Carries out one batch of a stream with a processor: what its context says, its deadline, and the abort when it may not go on. */
import { SkeinError } from '../../core/kernel/error.js'
import { asHandlerError } from '../agents/frames.js'
import type { EventView } from '../node-api.js'
import { pause } from '../pause.js'
import type { AnyProcessor, ProcessorContext, SpawnRef, StreamShare } from './api-types.js'

export interface BatchTask {
  readonly definition: AnyProcessor
  readonly self: SpawnRef
  readonly share: StreamShare
  readonly events: readonly EventView[]
  readonly deadlineMs: number
}

export interface BatchOutcome {
  readonly error: SkeinError | undefined
  /** Where its code goes on although it was told to stop: until it does not. */
  readonly unsettled: Promise<void> | undefined
}

/** Resolves when it is done, has failed, is over its deadline, or one of the signals aborted; never rejects. */
export async function carryOutBatch(task: BatchTask, signals: readonly AbortSignal[]): Promise<BatchOutcome> {
  const { definition, self, share, events, deadlineMs } = task
  const stop = new AbortController()
  const context: ProcessorContext = {
    self,
    nodeId: self.nodeId,
    signal: stop.signal,
    share,
    link: () =>
      Promise.reject(new SkeinError('invalid_argument', 'the processors of a stream are not linked')),
  }
  // Those live long: nothing of a batch may stay with them.
  const onAbort = (): void => stop.abort(signals.find((s) => s.aborted)?.reason)
  for (const signal of signals) signal.addEventListener('abort', onAbort, { once: true })
  if (signals.some((s) => s.aborted)) onAbort()
  let error: SkeinError | undefined
  let isSettled = false
  const wait = new AbortController()
  const settled = (async () => {
    try {
      await (definition.run as (args: unknown, context: ProcessorContext) => unknown)(events, context)
    } catch (thrown) {
      error = asHandlerError(thrown, `processor "${definition.processor}"`)
    }
    isSettled = true
    wait.abort()
  })()
  stop.signal.addEventListener('abort', () => wait.abort(), { once: true })
  if (stop.signal.aborted) wait.abort()
  if (!wait.signal.aborted) await pause(deadlineMs, wait.signal)
  for (const signal of signals) signal.removeEventListener('abort', onAbort)
  if (isSettled) return { error, unsettled: undefined }
  const cause =
    stop.signal.aborted && stop.signal.reason instanceof Error
      ? stop.signal.reason
      : new SkeinError('timeout', `processor "${definition.processor}" was not done in ${deadlineMs} ms`)
  stop.abort(cause)
  return { error: asHandlerError(cause, `processor "${definition.processor}"`), unsettled: settled }
}
