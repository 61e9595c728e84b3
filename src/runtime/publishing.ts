/** From what a program hands in to events with ids, and from their outcomes to what the program is told. */
import { SkeinError } from '../core/kernel/error.js'
import type { EventOutcome, NewEvent } from '../core/routing/events.js'
import { checkEvent } from './event-checks.js'
import type { PublishInput, PublishResult } from './node-api.js'

const eventsPerCallMax = 10_000

/** One result per input, in order. What does not pass the checks is rejected by itself; the rest goes to `publish` together. */
export async function publishChecked(
  inputs: readonly PublishInput[],
  newId: () => string,
  publish: (events: readonly NewEvent[]) => Promise<readonly EventOutcome[]>,
): Promise<readonly PublishResult[]> {
  if (inputs.length > eventsPerCallMax)
    throw new SkeinError(
      'invalid_argument',
      `${inputs.length} events in one call; at most ${eventsPerCallMax} are allowed`,
    )
  const results: PublishResult[] = new Array(inputs.length)
  const events: NewEvent[] = []
  const indexes: number[] = []
  inputs.forEach((input, index) => {
    const checked = checkEvent(input)
    if ('error' in checked) {
      results[index] = {
        id: input.id ?? '',
        status: 'rejected',
        shard: -1,
        error: { code: checked.error.code, detail: checked.error.message, retryable: false },
      }
      return
    }
    events.push({ ...checked, id: checked.id === '' ? newId() : checked.id })
    indexes.push(index)
  })
  const outcomes = events.length === 0 ? [] : await publish(events)
  outcomes.forEach((outcome, i) => {
    results[indexes[i] as number] = resultOf((events[i] as NewEvent).id, outcome)
  })
  return results
}

/** The result of a single event; throws what it was rejected for. */
export function settled(
  results: readonly PublishResult[],
): PublishResult & { readonly status: 'accepted' | 'duplicate' } {
  const [result] = results
  if (result === undefined) throw new SkeinError('internal', 'no outcome')
  if (result.status === 'rejected')
    throw new SkeinError(result.error.code, result.error.detail, {
      retryable: result.error.retryable,
      details: { id: result.id, shard: result.shard },
    })
  return result
}

function resultOf(id: string, outcome: EventOutcome): PublishResult {
  if (outcome.status === 'accepted' || outcome.status === 'duplicate')
    return { id, status: outcome.status, shard: outcome.shard, offset: outcome.offset }
  if (outcome.status === 'rejected')
    return {
      id,
      status: 'rejected',
      shard: outcome.shard,
      error: { code: outcome.code, detail: outcome.detail, retryable: outcome.retryable },
    }
  throw new SkeinError('internal', 'an event was left undecided')
}
