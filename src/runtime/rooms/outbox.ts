/**
 * Messages of rooms with history on their way to the journal, in order per sender and room: what one sender says while its last is not yet
 * durable goes with the next commit.
 */
import { SkeinError } from '../../core/kernel/error.js'
import type { PublishInput, PublishResult } from '../node-api.js'

const batchMax = 200
/** Of one sender in one room. */
const waitingMax = 1_000

interface Waiting {
  readonly event: PublishInput
  readonly done: (result: PublishResult) => void
  readonly failed: (error: unknown) => void
}

interface Lane {
  waiting: Waiting[]
  isBusy: boolean
}

export class Outbox {
  private readonly publish: (events: readonly PublishInput[]) => Promise<readonly PublishResult[]>
  private readonly lanes = new Map<string, Lane>()

  constructor(publish: (events: readonly PublishInput[]) => Promise<readonly PublishResult[]>) {
    this.publish = publish
  }

  send(sender: string, event: PublishInput): Promise<PublishResult> {
    const name = `${sender} ${event.key}`
    const lane = this.lanes.get(name) ?? { waiting: [], isBusy: false }
    if (lane.waiting.length >= waitingMax)
      throw new SkeinError('overloaded', `${waitingMax} messages to this room are not durable yet`, {
        retryable: true,
      })
    this.lanes.set(name, lane)
    return new Promise((done, failed) => {
      lane.waiting.push({ event, done, failed })
      if (!lane.isBusy) void this.run(name, lane)
    })
  }

  private async run(name: string, lane: Lane): Promise<void> {
    lane.isBusy = true
    while (lane.waiting.length > 0) {
      const batch = lane.waiting.splice(0, batchMax)
      try {
        const results = await this.publish(batch.map(({ event }) => event))
        for (const [i, { done }] of batch.entries()) done(results[i] as PublishResult)
      } catch (error) {
        for (const { failed } of batch) failed(error)
      }
    }
    this.lanes.delete(name)
  }
}
