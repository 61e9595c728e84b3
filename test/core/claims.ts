/** Arbitrary claims and messages of the membership protocol, and a plain record to start from. */
import fc from 'fast-check'
import { asBootId, asBootNumber, asIncarnation } from '../../src/core/kernel/brand.js'
import { utf8Length } from '../../src/core/kernel/text.js'
import type { Claim, MemberRecord, Telemetry } from '../../src/core/membership/member.js'
import type { MembershipMessage } from '../../src/core/membership/messages.js'

export function recordOf(nodeId: string, over: Partial<MemberRecord> = {}): MemberRecord {
  return {
    nodeId,
    bootId: asBootId(`${nodeId}#1`),
    boot: asBootNumber(1),
    incarnation: asIncarnation(0),
    controlAddress: `${nodeId}:1`,
    controlStreamAddress: `${nodeId}:2`,
    peerAddress: `${nodeId}:3`,
    httpAddress: `${nodeId}:4`,
    lifecycle: 'active',
    stalled: false,
    cordoned: false,
    role: 'worker',
    zone: 'a',
    region: 'r',
    version: '1',
    startedAtMs: 0,
    facts: '{}',
    ...over,
  }
}

/** Unicode of at most so many bytes. */
export const text = (bytesMax: number) =>
  fc.string({ unit: 'grapheme', maxLength: Math.min(24, bytesMax) }).filter((s) => utf8Length(s) <= bytesMax)

const count = fc.oneof(fc.nat(300), fc.maxSafeNat())
const id = text(64)

export const arbitraryClaim: fc.Arbitrary<Claim> = fc.record({
  record: fc.record({
    nodeId: id.filter((s) => s !== ''),
    bootId: id.map(asBootId),
    boot: count.map(asBootNumber),
    incarnation: count.map(asIncarnation),
    controlAddress: text(255),
    controlStreamAddress: text(255),
    peerAddress: text(255),
    httpAddress: text(255),
    lifecycle: fc.constantFrom('joining', 'active', 'draining', 'leaving', 'left'),
    stalled: fc.boolean(),
    cordoned: fc.boolean(),
    role: fc.constantFrom('worker', 'replica', 'standby'),
    zone: text(64),
    region: text(64),
    version: text(64),
    startedAtMs: count,
    facts: text(512),
  }),
  status: fc.constantFrom('alive', 'suspect', 'failed', 'left'),
  from: id,
  missedProbes: count,
  verdictAtMs: count,
})

const pct = fc.nat(100)
const thousandths = (min: number, max: number) => fc.integer({ min, max }).map((n) => n / 1_000)
const telemetry: fc.Arbitrary<Telemetry> = fc.record({
  cpuPct: pct,
  memoryPct: pct,
  diskPct: pct,
  loadCenti: count,
  eventsPerSecond: count,
  shardsOwned: count,
  loopDelayMs: count,
  unconfirmedEvents: count,
  process: fc.option(fc.record({ cpuPct: count, memoryMib: count }), { nil: null }),
  coordinate: fc.option(
    fc.record({
      place: fc.array(thousandths(-10_000_000, 10_000_000), { minLength: 4, maxLength: 4 }),
      adjustment: thousandths(-10_000_000, 10_000_000),
      height: thousandths(0, 10_000_000),
      error: thousandths(0, 1_500),
    }),
    { nil: null },
  ),
})
const claims = fc.array(arbitraryClaim, { maxLength: 3 })
const numbers = fc.array(count, { maxLength: 256 })
const c = fc.constant

export const arbitraryMessages: Record<MembershipMessage['type'], fc.Arbitrary<MembershipMessage>> = {
  ping: fc.record({
    type: c('ping'),
    seq: count,
    target: id,
    health: count,
    wallMs: count,
    telemetry,
    digest: count,
    claims,
  }),
  ack: fc.record({ type: c('ack'), seq: count, from: id, wallMs: count, telemetry, digest: count, claims }),
  ping_req: fc.record({ type: c('ping_req'), seq: count, target: id, address: text(255), claims }),
  nack: fc.record({ type: c('nack'), seq: count, from: id, claims }),
  gossip: fc.record({ type: c('gossip'), from: id, digest: count, claims }),
  digest: fc.record({ type: c('digest'), from: id, buckets: numbers, reply: fc.boolean() }),
  state: fc.record({ type: c('state'), from: id, claims, wanted: numbers }),
  join: fc.record({ type: c('join'), clusterName: id, storeIdentity: text(64), claims }),
  refuse: fc.record({ type: c('refuse'), from: id, detail: text(1_024) }),
}
