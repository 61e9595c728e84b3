/** Shards and the journal that they write to: whoever comes first waits for the other. */
import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { SkeinError } from '../../src/core/kernel/error.js'
import { noSeals } from '../../src/core/sharding/shard-map.js'
import { MemoryJournal, MemoryJournalState } from '../../src/drivers/journal-memory/memory-journal.js'
import { DataPlane, type DataPlaneWorld } from '../../src/runtime/data-plane.js'
import { monotonicMs } from '../../src/runtime/host-clock.js'
import { packPublish, unpackOutcomes } from '../../src/runtime/mesh-frames.js'
import { SharedState } from '../../src/runtime/shared-state.js'

const lease = asLeaseId('l1')
const epoch = asEpoch(3)

/** Opens a lease when it is told to. */
class SlowJournal extends MemoryJournal {
  readonly tries: { readonly go: () => void; readonly fail: (error: Error) => void }[] = []

  override async openLease(name: typeof lease): Promise<void> {
    await new Promise<void>((go, fail) => this.tries.push({ go, fail }))
    await super.openLease(name)
  }
}

function makePlane(isFenced: DataPlaneWorld['isFenced'] = () => false) {
  const journal = new SlowJournal({ state: new MemoryJournalState('slow') })
  const shared = new SharedState(1)
  const notes: string[] = []
  const world: Partial<DataPlaneWorld> = {
    nodeId: 'n1',
    shared,
    journal,
    clock: { now: () => '0'.repeat(24), receive: () => undefined } as unknown as DataPlaneWorld['clock'],
    isFenced,
    acknowledged: () => undefined,
    shardOpened: () => undefined,
    shardGone: () => undefined,
    shardClosed: () => undefined,
    count: () => undefined,
    countRejected: () => undefined,
    observeTakeover: () => undefined,
    observeAppend: () => undefined,
    note: (_, event, fields) => void notes.push(`${event} ${String(fields.code)}`),
  }
  const plane = new DataPlane(world as DataPlaneWorld)
  shared.leaseDeadlineMs = monotonicMs() + 60_000
  shared.setEpoch(0, epoch)
  plane.routing([{ epoch, nodeId: 'n1', lease, target: null, unsealed: [] }])
  return { plane, journal, notes }
}

const event = { stream: 's', key: 'k', id: 'e1', type: 't', payload: '1' }

describe('a shard whose journal is not open yet', () => {
  it('opens when the journal does, so that its first event is not refused', async () => {
    const { plane, journal } = makePlane()
    const opening = plane.journalOpen(lease)
    const opened = plane.openShard(0, epoch, lease, noSeals)
    const published = plane.publish([event], 5_000)
    await new Promise(setImmediate)
    expect(plane.openShards()).toEqual([])
    journal.tries[0]?.go()
    await Promise.all([opening, opened])
    expect(await published).toMatchObject([{ status: 'accepted', offset: 1 }])
    plane.close()
  })

  it('waits for a journal that is away, and is opened once it is back', async () => {
    const { plane, journal, notes } = makePlane()
    const opening = plane.journalOpen(lease)
    const opened = plane.openShard(0, epoch, lease, noSeals)
    journal.tries[0]?.fail(new SkeinError('unavailable', 'no server', { retryable: true }))
    await expect.poll(() => journal.tries.length).toBe(2)
    expect(plane.openShards()).toEqual([])
    expect(notes).toEqual(['journal.open_failed unavailable'])
    journal.tries[1]?.go()
    await Promise.all([opening, opened])
    expect(plane.openShards()).toEqual([0])
    plane.close()
  })

  it('is given up with its lease, without another try', async () => {
    const { plane, journal } = makePlane()
    const opening = plane.journalOpen(lease)
    opening.catch(() => undefined)
    plane.stopServing('lease lost')
    journal.tries[0]?.fail(new SkeinError('unavailable', 'no server', { retryable: true }))
    await plane.relinquish()
    await expect(opening).rejects.toMatchObject({ code: 'unavailable' })
    expect(journal.tries).toHaveLength(1)
    plane.close()
  })
})

describe('what an agent publishes', () => {
  it('is refused where a later epoch of the agent is known, and what comes with it is not', async () => {
    const { plane, journal } = makePlane(({ agent, epoch }) => agent === 'a' && epoch < 7)
    const opening = plane.journalOpen(lease)
    const opened = plane.openShard(0, epoch, lease, noSeals)
    journal.tries[0]?.go()
    await Promise.all([opening, opened])
    const by = (id: string, of: number) => ({ ...event, id, fence: { agent: 'a', epoch: of } })
    const events = [by('old', 6), by('new', 7), { ...event, id: 'plain' }]
    expect(await plane.publish(events, 5_000)).toMatchObject([
      { status: 'rejected', code: 'fenced', retryable: false },
      { status: 'accepted', offset: 1 },
      { status: 'accepted', offset: 2 },
    ])
    const answer = await new Promise<Uint8Array | Error>((reply) =>
      plane.receive(packPublish('0'.repeat(24), [by('late', 6), by('now', 7)]), reply),
    )
    expect(unpackOutcomes(answer as Uint8Array).outcomes).toMatchObject([
      { status: 'rejected', code: 'fenced' },
      { status: 'accepted', offset: 3 },
    ])
    plane.close()
  })
})
