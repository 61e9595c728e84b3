import { expect, it } from 'vitest'
import { externalLease } from '../../src/core/agents/records.js'
import { Random } from '../../src/core/kernel/random.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonEncode } from '../../src/core/kernel/text.js'
import { AgentPlane, agentPlaneDefaults } from '../../src/core/node/agent-plane.js'
import { externalPrefix, externalRules } from '../../src/core/node/candidates.js'
import { MemoryStoreState } from '../../src/drivers/store-memory/memory-state.js'

/** Our wall clock; that of whoever dated the heartbeat may say anything. */
const wallMs = 1_700_000_000_000
const lease = externalLease('wrapper', 5)

class Bench {
  nowMs = 1_000
  private readonly state = new MemoryStoreState({ nowMs: () => this.nowMs, identity: 'externals' })
  private readonly view = new StoreView()
  readonly plane = new AgentPlane(
    {
      view: this.view,
      nodeId: 'n1',
      leaseTtlMs: 5_000,
      lease: () => null,
      fadeAtMs: () => Number.POSITIVE_INFINITY,
      guard: () => null,
      member: () => undefined,
      isDraining: () => false,
      capacityLost: () => false,
    },
    agentPlaneDefaults,
    new Random(1),
  )

  private get at() {
    return { nowMs: this.nowMs, wallMs: wallMs + this.nowMs }
  }

  beat(datedMs: number): void {
    const record = {
      id: 'wrapper',
      max_agents: 5,
      services: [],
      registered_at_ms: 5,
      heartbeat_at_ms: datedMs,
    }
    this.state.txn({ then: [{ type: 'put', key: `${externalPrefix}wrapper`, value: jsonEncode(record) }] })
  }

  start(): void {
    this.view.reset(this.state.list(''), this.state.rev)
    this.plane.reset(this.at, this.state.list(''))
  }

  watch(): void {
    for (const batch of this.state.readPage('', this.view.rev + 1n).batches) {
      this.view.apply(batch)
      this.plane.apply(this.at, batch)
    }
  }

  after(ms: number) {
    this.nowMs += ms
    this.plane.settle(this.at)
    return { isLive: this.plane.isLive(lease), refusal: this.plane.candidates()[0]?.refusal }
  }
}

it('has times of 30, 90, 162 and 180 s unless told otherwise', () => {
  const rules = externalRules(agentPlaneDefaults.externalOfflineMs)
  expect(rules).toEqual({ heartbeatMs: 30_000, unhealthyMs: 90_000, validMs: 162_000, offlineMs: 180_000 })
})

it.each([
  ['right', 0],
  ['an hour slow', -3_600_000],
  ['an hour fast', 3_600_000],
])(
  'an external node is judged by when its heartbeat came, where the clock that dated it is %s',
  (_, offMs) => {
    const bench = new Bench()
    bench.start()
    bench.beat(wallMs + bench.nowMs + offMs)
    bench.watch()
    expect(bench.plane.externalsSeen()).toMatchObject([{ seenAtMs: 1_000, datedMs: 0 }])
    expect(bench.after(90_000)).toEqual({ isLive: true, refusal: '' })
    expect(bench.after(1).refusal).toMatch('no heartbeat for 90 s')
    expect(bench.after(89_999).isLive).toBe(true)
    expect(bench.after(1)).toMatchObject({ isLive: false, refusal: expect.stringMatching('offline') })
    bench.beat(0)
    bench.watch()
    expect(bench.after(0)).toEqual({ isLive: true, refusal: '' })
  },
)

it('who finds it there takes nothing from it early, and vouches for no longer than its date allows', () => {
  const bench = new Bench()
  bench.beat(wallMs + bench.nowMs - 170_000)
  bench.start()
  expect(bench.plane.externalsSeen()).toMatchObject([{ seenAtMs: 1_000, datedMs: 170_000 }])
  expect(bench.after(180_000).isLive).toBe(true)
  expect(bench.after(1).isLive).toBe(false)
})
