/** The part of the journal's contract about checkpoints of agents. */
import assert from 'node:assert/strict'
import { asEpoch, asLeaseId } from '../core/kernel/brand.js'
import { isSkeinError } from '../core/kernel/error.js'
import type { Checkpoint, Journal } from '../ports/journal.js'
import { e1, e2, l1, l2, numbered, refused, sampleGroup, type Test } from './journal-contract-kit.js'

const l3 = asLeaseId('lease-3')
const dayMs = 24 * 60 * 60 * 1000
const keepAll = { ageMsMax: Number.MAX_SAFE_INTEGER, streamBytesMax: Number.MAX_SAFE_INTEGER }
const mib = 1024 * 1024

function saved(agent: string, epoch: number, seq: number, text = `${agent}@${epoch}.${seq}`): Checkpoint {
  return { agent, epoch: asEpoch(epoch), seq, state: new Uint8Array(Buffer.from(text)) }
}

/** Bytes that differ from place to place and with the seed. */
function bigState(bytes: number, seed: number): Uint8Array {
  const state = new Uint8Array(bytes)
  let n = seed + 1
  for (let i = 0; i < bytes; i += 64) {
    n = (Math.imul(n, 1_103_515_245) + 12_345) >>> 0
    state[i] = n >>> 16
  }
  return state
}

/** Epoch and seq of what is found, and that the state is the one saved with them. */
async function found(journal: Journal, agent: string): Promise<[number, number] | undefined> {
  const checkpoint = await journal.readCheckpoint(agent)
  if (checkpoint === undefined) return undefined
  const { epoch, seq, state } = checkpoint
  assert.equal(checkpoint.agent, agent)
  assert.equal(Buffer.from(state).toString(), `${agent}@${epoch}.${seq}`)
  return [epoch, seq]
}

async function listed(journal: Journal, limit: number): Promise<Checkpoint[]> {
  const all: Checkpoint[] = []
  let after: string | undefined = ''
  for (let pages = 0; after !== undefined; pages++) {
    assert.ok(pages < 10_000, 'pages without an end')
    const page = await journal.listCheckpoints(after, limit)
    assert.ok(page.checkpoints.length <= limit)
    all.push(...page.checkpoints)
    after = page.next
  }
  return all
}

export function describeCheckpoints(test: Test): void {
  describeSaving(test)
  describeRefusing(test)
  describeOutliving(test)
  describeForgetting(test)
  describeListing(test)
}

function describeSaving(test: Test): void {
  test('a checkpoint comes back as it was, on any handle and after the writer closed', async (open) => {
    const writer = await open(l1)
    const other = await open()
    assert.equal(await other.readCheckpoint('a'), undefined)
    const checkpoint = { agent: 'a', epoch: asEpoch(3), seq: 0, state: new Uint8Array([0, 255, 7]) }
    await writer.saveCheckpoints(l1, [checkpoint])
    assert.deepEqual(await other.readCheckpoint('a'), checkpoint)
    assert.deepEqual(await writer.readCheckpoint('a'), checkpoint)
    await writer.close()
    const reopened = await open(l2)
    assert.deepEqual(await reopened.readCheckpoint('a'), checkpoint)
    assert.equal(await reopened.readCheckpoint('b'), undefined)
    await reopened.saveCheckpoints(l2, [])
    await reopened.saveCheckpoints(l2, [
      saved('b', 1, 1),
      { ...checkpoint, seq: 1, state: new Uint8Array(0) },
    ])
    assert.equal((await other.readCheckpoint('a'))?.state.length, 0)
    await reopened.saveCheckpoints(l2, [{ ...checkpoint, seq: 2, state: new Uint8Array(0) }])
    assert.equal((await other.readCheckpoint('a'))?.seq, 2)
  })

  test('the highest epoch wins, then the highest seq, in any order of writing and under any lease', async (open) => {
    const writers = [await open(l1), await open(l2), await open(l3)]
    const ranks: [number, number][] = [
      [1, 0],
      [1, 5],
      [2, 0],
      [2, 1],
      [7, 3],
    ]
    // Every rotation, forwards and backwards, each to an agent of its own; the lease changes with every save.
    const orders = ranks.flatMap((_, i) => {
      const turned = [...ranks.slice(i), ...ranks.slice(0, i)]
      return [turned, [...turned].reverse()]
    })
    for (const [n, order] of orders.entries()) {
      const agent = `agent-${n}`
      let best: [number, number] = [0, 0]
      for (const [i, [epoch, seq]] of order.entries()) {
        const lease = [l1, l2, l3][(i + n) % 3] ?? l1
        await writers[(i + n) % 3]?.saveCheckpoints(lease, [saved(agent, epoch, seq)])
        if (epoch > best[0] || (epoch === best[0] && seq > best[1])) best = [epoch, seq]
        assert.deepEqual(await found(writers[n % 3] as Journal, agent), best)
      }
    }
  })

  test('within one call and among saves sent together the highest wins, and all resolve', async (open) => {
    const journal = await open(l1)
    await journal.saveCheckpoints(l1, [
      saved('a', 2, 1),
      saved('a', 2, 9),
      saved('a', 1, 50),
      saved('b', 1, 1),
    ])
    assert.deepEqual(await found(journal, 'a'), [2, 9])
    const saves = Array.from({ length: 600 }, (_, i) =>
      journal.saveCheckpoints(l1, [saved(`many-${i % 100}`, 1 + (i % 3), (i * 7) % 600)]),
    )
    const event = journal.append(l1, [sampleGroup(0, 1, 1, numbered(1, 1))])
    await Promise.all([...saves, event])
    for (let agent = 0; agent < 100; agent++) {
      const expected = Array.from({ length: 6 }, (_, k) => agent + k * 100)
        .map((i): [number, number] => [1 + (i % 3), (i * 7) % 600])
        .sort((a, b) => b[0] - a[0] || b[1] - a[1])[0]
      assert.deepEqual(await found(journal, `many-${agent}`), expected)
    }
    assert.equal((await journal.lastOffsets([0])).get(0), 1)
  })

  test('many agents in one call, looked up all at once', async (open) => {
    const journal = await open(l1)
    const agents = Array.from({ length: 4096 }, (_, i) => `agent/${i}`)
    await journal.saveCheckpoints(
      l1,
      agents.map((agent, i) => saved(agent, 1, i)),
    )
    const other = await open()
    const all = await Promise.all(agents.slice(0, 900).map((agent) => found(other, agent)))
    assert.deepEqual(
      all,
      agents.slice(0, 900).map((_, i) => [1, i]),
    )
  })

  test('a state of 4 MiB is kept byte for byte, and replaced by a small one', async (open) => {
    const journal = await open(l1)
    const states = [0, 1, 2].map((seed) => bigState(4 * mib, seed))
    await journal.saveCheckpoints(
      l1,
      states.map((state, i) => ({ agent: `big-${i}`, epoch: e1, seq: 1, state })),
    )
    const other = await open()
    const read = await Promise.all(states.map((_, i) => other.readCheckpoint(`big-${i}`)))
    for (const [i, state] of states.entries()) {
      assert.ok(Buffer.from(state).equals(read[i]?.state ?? new Uint8Array()), `big-${i} differs`)
    }
    await journal.saveCheckpoints(l1, [saved('big-1', 1, 2)])
    assert.deepEqual(await found(other, 'big-1'), [1, 2])
  })

  test('names of agents may be any text: NUL, newline, __proto__, astral, 256 characters', async (open) => {
    const journal = await open(l1)
    const odd = [
      '\0',
      'a\0b',
      'a',
      'a\nb',
      '__proto__',
      '\u{1F9E6}\u{10FFFF}',
      "';--",
      '\u{1F9E6}'.repeat(128),
    ]
    await journal.saveCheckpoints(
      l1,
      odd.map((agent, i) => saved(agent, 1, i)),
    )
    for (const [i, agent] of odd.entries()) assert.deepEqual(await found(journal, agent), [1, i])
    assert.deepEqual((await listed(journal, 3)).map((c) => c.agent).sort(), [...odd].sort())
  })

  test('what the caller does to a state after the save is nothing to the journal', async (open) => {
    const journal = await open(l1)
    const state = new Uint8Array([1, 2, 3])
    await journal.saveCheckpoints(l1, [{ agent: 'a', epoch: e1, seq: 1, state }])
    state[0] = 9
    const read = await journal.readCheckpoint('a')
    assert.deepEqual([...(read?.state ?? [])], [1, 2, 3])
    if (read !== undefined) read.state[1] = 9
    assert.deepEqual([...((await journal.readCheckpoint('a'))?.state ?? [])], [1, 2, 3])
  })
}

function describeRefusing(test: Test): void {
  test('a save is fenced without the lease, and after it was closed; one under way settles first', async (open) => {
    const journal = await open()
    await refused(journal.saveCheckpoints(l1, [saved('a', 1, 1)]), 'fenced')
    await refused(journal.forgetCheckpoint(l1, 'a', e1), 'fenced')
    await journal.openLease(l1)
    await refused(journal.saveCheckpoints(l2, [saved('a', 1, 1)]), 'fenced')
    const underWay = journal.saveCheckpoints(l1, [saved('a', 1, 1)])
    await journal.closeLease()
    await underWay
    await refused(journal.saveCheckpoints(l1, [saved('a', 1, 2)]), 'fenced')
    await refused(journal.forgetCheckpoint(l1, 'a', e1), 'fenced')
    assert.deepEqual(await found(journal, 'a'), [1, 1])
    await journal.openLease(l2)
    await refused(journal.saveCheckpoints(l1, [saved('a', 1, 2)]), 'fenced')
    await journal.saveCheckpoints(l2, [saved('a', 2, 0)])
    await journal.close()
    await refused(journal.saveCheckpoints(l2, [saved('a', 2, 1)]), 'closed')
    await refused(journal.readCheckpoint('a'), 'closed')
    await refused(journal.listCheckpoints('', 1), 'closed')
    assert.deepEqual(await found(await open(), 'a'), [2, 0])
  })

  test('bad checkpoints are refused by name, and nothing of their call is kept', async (open) => {
    const journal = await open(l1)
    const good = saved('good', 1, 1)
    const bad: Checkpoint[] = [
      saved('', 1, 1),
      saved('x'.repeat(257), 1, 1),
      saved('\ud800', 1, 1),
      saved('a', 0, 1),
      saved('a', 1.5, 1),
      saved('a', 1, -1),
      saved('a', 1, Number.MAX_SAFE_INTEGER),
      saved('a', 1, Number.NaN),
      { ...good, state: 'text' as unknown as Uint8Array },
    ]
    for (const one of bad) await refused(journal.saveCheckpoints(l1, [good, one]), 'invalid_argument')
    const over = { ...good, agent: 'over', state: new Uint8Array(4 * mib + 1) }
    await refused(journal.saveCheckpoints(l1, [good, over]), 'payload_too_large')
    await journal.saveCheckpoints(l1, [over]).catch((error: unknown) => {
      assert.ok(isSkeinError(error))
      assert.match(error.message, /over.*4194305.*4194304/)
    })
    const nine = Array.from({ length: 9 }, (_, i) => ({
      ...over,
      agent: `${i}`,
      state: new Uint8Array(4 * mib),
    }))
    await refused(journal.saveCheckpoints(l1, nine), 'payload_too_large')
    const tooMany = Array.from({ length: 4097 }, (_, i) => saved(`${i}`, 1, 1))
    await refused(journal.saveCheckpoints(l1, tooMany), 'payload_too_large')
    assert.equal(await journal.readCheckpoint('good'), undefined)
    for (const agent of ['', 'x'.repeat(257), '\ud800']) {
      await refused(journal.readCheckpoint(agent), 'invalid_argument')
      await refused(journal.forgetCheckpoint(l1, agent, e1), 'invalid_argument')
    }
    await refused(journal.forgetCheckpoint(l1, 'a', asEpoch(0)), 'invalid_argument')
    for (const limit of [0, 1001, 1.5]) await refused(journal.listCheckpoints('', limit), 'invalid_argument')
    await refused(journal.listCheckpoints('\ud800', 1), 'invalid_argument')
  })

  test('saves that wait are bounded: what does not fit is refused at once, what was taken is kept', async (_open, world) => {
    const journal = world.handle({ queueEventsMax: 10 })
    await journal.open()
    try {
      await journal.openLease(l1)
      const settled = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) =>
          journal.saveCheckpoints(l1, [saved(`a${i}`, 1, 1), saved(`b${i}`, 1, 1), saved(`c${i}`, 1, 1)]),
        ),
      )
      const codes = settled.map((s) =>
        s.status === 'fulfilled' ? 'ok' : (s.reason as { code: string }).code,
      )
      assert.deepEqual([...new Set(codes)].sort(), ['ok', 'overloaded'])
      for (const [i, code] of codes.entries()) {
        assert.deepEqual(await found(journal, `b${i}`), code === 'ok' ? [1, 1] : undefined)
      }
    } finally {
      await journal.close()
    }
  })
}

function describeOutliving(test: Test): void {
  test('checkpoints outlive trim', async (open) => {
    const old = await open(l1)
    await old.append(l1, [sampleGroup(0, 1, 1, numbered(1, 3, { atMs: 1 }))])
    await old.saveCheckpoints(l1, [saved('a', 1, 4), saved('b', 1, 4)])
    const nothing = { ageMsMax: 0, streamBytesMax: 0 }
    await old.trim(nothing, 10 * dayMs)
    assert.deepEqual(await found(old, 'a'), [1, 4])
    await old.close()
    const journal = await open(l2)
    await journal.saveCheckpoints(l2, [saved('b', 2, 0)])
    for (const lease of [l1, undefined]) await journal.trim(nothing, Date.now() + 10 * dayMs, lease)
    assert.deepEqual(await found(journal, 'a'), [1, 4])
    assert.deepEqual(await found(journal, 'b'), [2, 0])
  })

  test('checkpoints outlive the lease they were saved under, the highest of each agent', async (open) => {
    const old = await open(l1)
    await old.append(l1, [sampleGroup(0, 1, 1, numbered(1, 3))])
    await old.saveCheckpoints(l1, [saved('only', 1, 3), saved('older', 1, 3), saved('newer', 4, 9)])
    await old.close()
    const bare = await open()
    await bare.dropLease(l1).catch((error: unknown) => {
      assert.ok(isSkeinError(error) && error.code === 'invalid_argument', String(error))
    })
    assert.deepEqual(await found(bare, 'only'), [1, 3])
    await bare.close()
    const journal = await open(l2)
    await journal.saveCheckpoints(l2, [saved('older', 2, 0), saved('newer', 3, 0)])
    await journal.dropLease(l1)
    await journal.dropLease(l1)
    assert.deepEqual(
      (await journal.leaseFiles()).map((f) => f.lease),
      [l2],
    )
    await journal.close()
    const reader = await open(l3)
    assert.deepEqual(await found(reader, 'only'), [1, 3])
    assert.deepEqual(await found(reader, 'older'), [2, 0])
    assert.deepEqual(await found(reader, 'newer'), [4, 9])
    await reader.dropLease(l2)
    assert.deepEqual(await found(reader, 'only'), [1, 3])
    assert.deepEqual(await found(reader, 'newer'), [4, 9])
  })

  test('more states than one step takes move when their lease is dropped', async (open) => {
    const old = await open(l1)
    const large = Array.from({ length: 10 }, (_, i) => ({
      agent: `large-${i}`,
      epoch: e1,
      seq: i,
      state: bigState(2 * mib, i),
    }))
    const small = Array.from({ length: 700 }, (_, i) => saved(`small-${i}`, 1, i))
    await old.saveCheckpoints(l1, [...large, ...small])
    await old.close()
    const journal = await open(l2)
    await journal.dropLease(l1)
    for (const { agent, state } of large) {
      assert.ok(Buffer.from(state).equals((await journal.readCheckpoint(agent))?.state ?? new Uint8Array()))
    }
    for (const i of [0, 255, 256, 257, 511, 512, 699]) {
      assert.deepEqual(await found(journal, `small-${i}`), [1, i])
    }
    assert.equal((await listed(journal, 1000)).length, 710)
  })

  test('a stale writer never wins over a higher epoch, whatever it saves', async (open) => {
    const stale = await open(l1)
    await stale.saveCheckpoints(l1, [saved('a', 1, 10)])
    const owner = await open(l2)
    assert.deepEqual(await found(owner, 'a'), [1, 10])
    await owner.saveCheckpoints(l2, [saved('a', 2, 0)])
    await stale.saveCheckpoints(l1, [saved('a', 1, 11)])
    for (const journal of [owner, stale]) assert.deepEqual(await found(journal, 'a'), [2, 0])
    await stale.close()
    await owner.trim(keepAll, Date.now() + 10 * dayMs, l1)
    await owner.dropLease(l1)
    assert.deepEqual(await found(owner, 'a'), [2, 0])
  })
}

function describeForgetting(test: Test): void {
  test('what was forgotten stays so under every lease; a later epoch is not touched', async (open) => {
    const a = await open(l1)
    const b = await open(l2)
    await a.saveCheckpoints(l1, [saved('gone', 1, 5), saved('back', 1, 5), saved('kept', 3, 0)])
    for (const agent of ['gone', 'back', 'kept', 'never']) await b.forgetCheckpoint(l2, agent, e2)
    await b.forgetCheckpoint(l2, 'gone', e1)
    await a.saveCheckpoints(l1, [saved('gone', 2, 77), saved('back', 2, 77)])
    await b.saveCheckpoints(l2, [saved('gone', 1, 77)])
    await a.saveCheckpoints(l1, [saved('back', 3, 0)])
    for (const journal of [a, b, await open()]) {
      assert.equal(await found(journal, 'gone'), undefined)
      assert.equal(await found(journal, 'never'), undefined)
      assert.deepEqual(await found(journal, 'back'), [3, 0])
      assert.deepEqual(await found(journal, 'kept'), [3, 0])
    }
    await a.forgetCheckpoint(l1, 'back', asEpoch(3))
    assert.equal(await found(b, 'back'), undefined)
  })

  test('what was forgotten does not come back when leases are dropped and the note of it goes', async (open) => {
    const a = await open(l1)
    await a.saveCheckpoints(l1, [saved('gone', 1, 5), saved('kept', 1, 5)])
    await a.close()
    const b = await open(l2)
    await b.forgetCheckpoint(l2, 'gone', e1)
    await b.close()
    const c = await open(l3)
    // The note moves with what its lease leaves, as long as the file of another lease holds what it hides.
    await c.dropLease(l2)
    assert.equal(await found(c, 'gone'), undefined)
    await c.trim(keepAll, Date.now() + 2 * dayMs)
    assert.equal(await found(c, 'gone'), undefined)
    await c.dropLease(l1)
    for (let n = 0; n < 2; n++) await c.trim(keepAll, Date.now() + 2 * dayMs)
    assert.equal(await found(c, 'gone'), undefined)
    assert.deepEqual(await found(c, 'kept'), [1, 5])
    assert.deepEqual(
      (await listed(c, 10)).map((one) => one.agent),
      ['kept'],
    )
    // A day later nothing is left of it: the name begins anew, also with a low epoch.
    await c.saveCheckpoints(l3, [saved('gone', 1, 0)])
    assert.deepEqual(await found(c, 'gone'), [1, 0])
  })
}

function describeListing(test: Test): void {
  test('pages of any size list every agent once, in the order of its bytes, with what counts', async (open) => {
    const a = await open(l1)
    const b = await open(l2)
    const agents = Array.from({ length: 60 }, (_, i) => `agent-${i}`)
    const odd = ['\uFFFD', '\u{10000}', 'ä', 'z', 'a', 'aa']
    await a.saveCheckpoints(
      l1,
      [...agents, ...odd].map((agent, i) => saved(agent, 1, i)),
    )
    await b.saveCheckpoints(
      l2,
      agents.slice(20, 40).map((agent) => saved(agent, 2, 0)),
    )
    await b.saveCheckpoints(l2, [saved('b-only', 1, 1)])
    for (const agent of agents.slice(30, 50)) await b.forgetCheckpoint(l2, agent, asEpoch(9))
    const expected = [...agents.slice(0, 30), ...agents.slice(50), ...odd, 'b-only'].sort((x, y) =>
      Buffer.from(x).compare(Buffer.from(y)),
    )
    for (const limit of [1, 2, 7, 19, 20, 1000]) {
      const all = await listed(a, limit)
      assert.deepEqual(
        all.map((c) => c.agent),
        expected,
      )
      for (const { agent, epoch, seq, state } of all) {
        assert.equal(epoch, agents.indexOf(agent) >= 20 && agents.indexOf(agent) < 40 ? 2 : 1)
        assert.equal(Buffer.from(state).toString(), `${agent}@${epoch}.${seq}`)
      }
    }
    const page = await a.listCheckpoints('z', 1000)
    assert.deepEqual(
      page.checkpoints.map((c) => c.agent),
      ['ä', '\uFFFD', '\u{10000}'],
    )
  })

  test('a page ends early over its bytes, and goes on', async (open) => {
    const journal = await open(l1)
    for (let i = 0; i < 8; i++) {
      await journal.saveCheckpoints(l1, [
        { agent: `big-${i}`, epoch: e1, seq: i, state: bigState(3 * mib, i) },
        saved(`big-${i}-small`, 1, i),
      ])
    }
    const { checkpoints } = await journal.listCheckpoints('', 1000)
    const bytes = checkpoints.reduce((sum, { state }) => sum + state.length, 0)
    assert.ok(bytes >= 3 * mib && bytes <= 12 * mib, `${bytes} bytes in a page`)
    assert.equal((await listed(journal, 1000)).length, 16)
  })

  test('a journal without agents has an empty list', async (open) => {
    assert.deepEqual(await listed(await open(), 10), [])
    assert.deepEqual(await listed(await open(l1), 10), [])
  })
}
