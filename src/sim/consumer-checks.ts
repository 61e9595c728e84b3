/**
 * What consumers are promised: a handler starts only on the owner of its shard, sees only what was acknowledged, the events of a key in their order,
 * and in the end has handled everything at least once.
 */
import type { ShardId } from '../core/kernel/brand.js'
import type { ConsumeContext, EventView } from '../runtime/node-api.js'
import type { SimRow } from './journal.js'
import type { SimNode } from './node.js'

interface GroupFacts {
  readonly stream: string
  /** Id of each event that a handler was given, by place. */
  readonly given: Map<string, string>
  readonly handled: Set<string>
  /** Highest offset given so far, by shard and key. */
  readonly lastGiven: Map<string, number>
}

export class ConsumerChecks {
  private readonly groups = new Map<string, GroupFacts>()
  private readonly fail: (promise: string, detail: string) => void

  constructor(fail: (promise: string, detail: string) => void) {
    this.fail = fail
  }

  get handledCount(): number {
    return [...this.groups.values()].reduce((sum, { handled }) => sum + handled.size, 0)
  }

  register(group: string, stream: string): void {
    if (!this.groups.has(group))
      this.groups.set(group, { stream, given: new Map(), handled: new Set(), lastGiven: new Map() })
  }

  /** `sealedThrough`: the highest epoch of the shard that the store has sealed. */
  started(
    node: SimNode,
    group: string,
    batch: readonly EventView[],
    { shard, epoch }: ConsumeContext,
    sealedThrough: number,
  ): void {
    const lease = node.currentLease()
    if (lease === null || !node.cluster.store.isLeaseAlive(lease))
      this.fail('3', `${node.id} started a handler of ${group} on shard ${shard} without a live lease`)
    if (sealedThrough >= epoch)
      this.fail(
        '3',
        `${node.id} started a handler of ${group} on shard ${shard} under the sealed epoch ${epoch}`,
      )
    const facts = this.groups.get(group) as GroupFacts
    for (const { id, key, offset } of batch) {
      const place = placeOf(shard, offset)
      const keyPlace = `${shard} ${key}`
      const last = facts.lastGiven.get(keyPlace) ?? 0
      if (!facts.given.has(place) && offset < last)
        this.fail('2', `${group} was given ${id} of key ${key} (offset ${offset}) after offset ${last}`)
      facts.lastGiven.set(keyPlace, Math.max(last, offset))
      facts.given.set(place, id)
    }
  }

  finished(group: string, batch: readonly EventView[]): void {
    const { handled } = this.groups.get(group) as GroupFacts
    for (const { shard, offset } of batch) handled.add(placeOf(shard, offset))
  }

  /** At the end, against the log of one shard. `isAcknowledged` says what a client was promised. */
  checkShard(shard: ShardId, rows: readonly SimRow[], isAcknowledged: (row: SimRow) => boolean): void {
    const end = rows.at(-1)?.offset ?? 0
    for (const [group, { stream, given, handled }] of this.groups) {
      for (const row of rows) {
        const place = placeOf(shard, row.offset)
        const id = given.get(place)
        if (id !== undefined && id !== row.event.id)
          this.fail(
            '2',
            `${group} was given ${id} at shard ${shard} offset ${row.offset}, where ${row.event.id} lies`,
          )
        if (row.event.stream === stream && !handled.has(place) && isAcknowledged(row))
          this.fail('2', `${group} never handled ${row.event.id} (shard ${shard} offset ${row.offset})`)
      }
      for (const place of given.keys())
        if (place.startsWith(`${shard}/`) && Number(place.slice(place.indexOf('/') + 1)) > end)
          this.fail('3', `${group} was given ${given.get(place)} at ${place}, past the end of the log`)
    }
  }
}

function placeOf(shard: ShardId, offset: number): string {
  return `${shard}/${offset}`
}
