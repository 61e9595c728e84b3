/** The group commit with a slow disk: what waits together goes together. */
import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { SkeinError } from '../../src/core/kernel/error.js'
import { type AgentRecord, recordsOf } from '../../src/engines/journal/checkpoint.js'
import { type Commit, CommitQueue } from '../../src/engines/journal/commit-queue.js'
import { sampleEvent, sampleGroup } from '../../src/testing/journal-contract.js'

const lease = asLeaseId('l')
const limits = {
  queueEventsMax: 2000,
  queueBytesMax: 1_000_000,
  commitEventsMax: 1000,
  commitBytesMax: 500_000,
}

function record(agent: string, seq: number, bytes = 10): AgentRecord {
  return { agent, epoch: asEpoch(1), seq, state: new Uint8Array(bytes).fill(seq % 256), forgottenAtMs: 0 }
}

/** A queue whose commits end when the test says so. */
function slowQueue() {
  const commits: { readonly commit: Commit; readonly end: (error?: SkeinError) => void }[] = []
  const queue = new CommitQueue(
    limits,
    (commit) =>
      new Promise((resolve, reject) => {
        const end = (error?: SkeinError) =>
          error === undefined ? resolve(commit.blockCounts.map(() => null)) : reject(error)
        commits.push({ commit, end })
      }),
  )
  return { queue, commits }
}

describe('the group commit', () => {
  it('writes of each agent the newest of what waited, with the events and positions of the same moment', async () => {
    const { queue, commits } = slowQueue()
    const first = queue.add(lease, { records: [record('first', 0)] })
    const rest = Array.from({ length: 500 }, (_, i) =>
      queue.add(lease, { records: [record(`a${i % 10}`, (i * 7) % 500)] }),
    )
    rest.push(queue.add(lease, { groups: [sampleGroup(0, 1, 1, [sampleEvent('e')])] }))
    rest.push(queue.add(lease, { positions: [{ group: 'g', shard: 0, epoch: asEpoch(1), offset: 1 }] }))
    await Promise.resolve()
    expect(commits.length).toBe(1)
    const [{ commit, end }] = commits as [(typeof commits)[number]]
    expect(commit.blockCounts.length).toBe(503)
    expect([commit.batch.streams.length, commit.positions.length]).toEqual([1, 1])
    const written = recordsOf(commit.records)
    expect(written.length).toBe(11)
    for (const { agent, seq, state } of written.slice(1)) {
      const seqs = Array.from({ length: 500 }, (_, i) => i)
        .filter((i) => `a${i % 10}` === agent)
        .map((i) => (i * 7) % 500)
      expect(seq).toBe(Math.max(...seqs))
      expect([...state]).toEqual([...new Uint8Array(10).fill(seq % 256)])
    }
    end()
    await Promise.all([first, ...rest])
    await queue.idle()
  })

  it('gathers while two commits are under way, and tells all of a commit that failed', async () => {
    const { queue, commits } = slowQueue()
    const saves: Promise<void>[] = []
    for (let turn = 0; turn < 5; turn++) {
      for (let i = 0; i < 20; i++) saves.push(queue.add(lease, { records: [record(`a${i}`, turn)] }))
      await new Promise(setImmediate)
    }
    expect(commits.length).toBe(2)
    const settled = Promise.allSettled(saves)
    commits[0]?.end()
    await new Promise(setImmediate)
    expect(commits.length).toBe(3)
    expect(recordsOf(commits[2]?.commit.records as Commit['records']).map(({ seq }) => seq)).toEqual(
      Array.from({ length: 20 }, () => 4),
    )
    commits[1]?.end()
    commits[2]?.end(new SkeinError('disk_full', 'full'))
    const codes = (await settled).map((s) =>
      s.status === 'fulfilled' ? 'ok' : (s.reason as SkeinError).code,
    )
    expect(codes).toEqual([
      ...Array.from({ length: 40 }, () => 'ok'),
      ...Array.from({ length: 60 }, () => 'disk_full'),
    ])
  })

  it('is bounded by the bytes of the states that wait', async () => {
    const { queue, commits } = slowQueue()
    const taken = [1, 2, 3].map((i) => queue.add(lease, { records: [record(`a${i}`, 0, 300_000)] }))
    await expect(queue.add(lease, { records: [record('b', 0, 300_000)] })).rejects.toMatchObject({
      code: 'overloaded',
    })
    await new Promise(setImmediate)
    // Two would be over the bytes of one commit.
    expect(commits.map(({ commit }) => commit.records.agents)).toEqual([['a1'], ['a2']])
    for (let i = 0; i < 3; i++) {
      commits[i]?.end()
      await new Promise(setImmediate)
    }
    await Promise.all(taken)
  })
})
