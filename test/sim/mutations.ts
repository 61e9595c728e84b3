/**
 * Planted bugs: each is a small change to the sources of the core or of the simulated shell, made while bundling, so that the product carries no switch
 * for being wrong. Every one breaks a promise, and some checker of the simulator must say so.
 */
import type { PlantedBug } from '../planted.js'

export interface Mutation extends PlantedBug {
  /** Faults that bring it out, and how long to look. */
  readonly faults: string
  readonly minutes: number
  /** Where a few seeds show nothing, the one to begin with. */
  readonly firstSeed?: number
}

export const mutations: readonly Mutation[] = [
  {
    name: 'a leader skips the fencing check of its term',
    file: 'src/core/sharding/coordinator.ts',
    find: "            guard.compare,\n            { key: shardMapKey, target: 'modRev', op: '=', value: this.world.view.modRev(shardMapKey) },\n",
    replace: '',
    faults: 'partition,slow_store,pause',
    minutes: 5,
    firstSeed: 8,
  },
  {
    name: 'the leader is changed without raising the term',
    file: 'src/core/election/leader-election.ts',
    find: 'const term = asTerm((leader?.term ?? 0) + 1)',
    replace: 'const term = asTerm(leader?.term ?? 1)',
    faults: 'crash',
    minutes: 2,
  },
  {
    name: 'an event is acknowledged before the journal has it',
    file: 'src/sim/node.ts',
    find: 'this.commitsUnderWay++\n',
    replace:
      "this.commitsUnderWay++\n    this.toMain(() => done({ kind: 'durable' }))\n    done = () => {}\n",
    faults: 'crash,power_cut,torn_writes',
    minutes: 2,
  },
  {
    name: 'an event is acknowledged without the check after the commit',
    file: 'src/core/routing/shard-writer.ts',
    find: '} else if (this.world.allowedEpoch(shard) !== log.epoch) {',
    replace: '} else if (atMs < 0) {',
    faults: 'pause,pause_past_lease',
    minutes: 6,
  },
  {
    name: 'a shard is given on before its owner released it or its lease ended',
    file: 'src/core/sharding/coordinator.ts',
    find: 'a.lease !== null && leases.has(a.lease) && readRelease',
    replace: 'a.lease !== null && leases.has(a.lease) && a.target === null && readRelease',
    faults: 'crash,slow_store',
    minutes: 4,
  },
  {
    name: 'a journal file is written on under a new lease',
    file: 'src/sim/node.ts',
    find: 'if (!tornWrite) journal.write(lease, groups)',
    replace: 'this.firstLease ??= lease; if (!tornWrite) journal.write(this.firstLease, groups)',
    faults: 'store_unreachable,pause_past_lease,crash',
    minutes: 4,
  },
  {
    name: 'a lease is revoked on mere suspicion',
    file: 'src/core/node/node-machine.ts',
    find: "if (after?.status === 'failed') {",
    replace:
      "if (after?.status === 'suspect') { const r = readRegistration(this.view, nodeId); if (r !== undefined) this.out.push({ type: 'store', tag: 'proof.revoke', request: { op: 'lease_revoke', lease: r.lease } }) }\n    if (after?.status === 'failed') {",
    faults: 'pause,bad_wire,partition',
    minutes: 4,
  },
  {
    name: 'a failed member counts as proved dead',
    file: 'src/sim/node.ts',
    find: "result: cluster.isBootRunning(locator) ? 'alive' : 'dead'",
    replace: "result: 'dead'",
    faults: 'partition,one_way_partition,pause',
    minutes: 10,
  },
  {
    name: 'a member that is accused does not refute',
    file: 'src/core/membership/membership.ts',
    find: 'compareClaims(claim, me) <= 0) return',
    replace: "compareClaims(claim, me) <= 0 || claim.status !== 'alive') return",
    faults: 'pause,bad_wire,short_loss',
    minutes: 4,
  },
  {
    name: 'a quick restart adopts the lease of its former self',
    file: 'src/core/election/lease-keeper.ts',
    find: 'if (found?.lease === this.lease && boot) {',
    replace: 'if (found && boot) {\n      this.lease = found.lease',
    faults: 'crash_quick_restart,partition,one_way_partition',
    minutes: 4,
  },
  {
    name: 'the lease deadline counts from the reply and is twice the TTL',
    file: 'src/core/election/lease-keeper.ts',
    find: 'this.deadlineMs = sent.nowMs + reply.ttlMs * 0.9',
    replace: 'this.deadlineMs = at.nowMs + reply.ttlMs * 2',
    faults: 'store_unreachable,pause_past_lease',
    minutes: 4,
  },
  {
    name: 'waking up does not close what was served',
    file: 'src/core/node/node-machine.ts',
    find: "this.out.push({ type: 'stop_serving', lease, reason })",
    replace: 'void reason',
    faults: 'pause_past_lease,store_unreachable',
    minutes: 4,
  },
  {
    name: 'the data plane does not look at the lease deadline',
    file: 'src/sim/node.ts',
    find: 'return this.instant.nowMs < this.leaseDeadlineMs ?',
    replace: 'return shard >= 0 ?',
    faults: 'pause_past_lease,pause,store_unreachable,crash',
    minutes: 8,
  },
  {
    name: 'a successor does not seal its predecessor',
    file: 'src/core/sharding/holder.ts',
    find: 'segments: [...before.segments, ...fresh],\n        end: fresh.at(-1)?.last ?? before.end,',
    replace: 'segments: before.segments,\n        end: before.end,',
    faults: 'crash',
    minutes: 2,
  },
  {
    name: 'a seal is not made durable',
    file: 'src/sim/journal.ts',
    find: '        this.sync(lease)\n        const rows',
    replace: '        const rows',
    faults: 'crash,power_cut',
    minutes: 3,
  },
  {
    name: 'a seal is written before the tenure ended',
    file: 'src/core/sharding/holder.ts',
    find: "this.out.push({ type: 'shard_close', shard: h.shard, epoch: h.epoch })",
    replace:
      "this.out.push({ type: 'store', tag: 'early', request: { op: 'txn', txn: { then: [{ type: 'put', key: sealKey(h.shard), value: jsonEncode(encodeSeals({ through: h.epoch, segments: (h.seals ?? noSeals).segments, end: (h.seals ?? noSeals).end }, 1)) }] } } })\n    this.out.push({ type: 'shard_close', shard: h.shard, epoch: h.epoch })",
    faults: 'crash,main_blocked',
    minutes: 4,
  },
  {
    name: 'a take-over forgets the dedupe window',
    file: 'src/core/routing/shard-writer.ts',
    find: 'for (const { event, offset, atMs } of recent) {',
    replace: 'for (const { event, offset, atMs } of recent.slice(0, 0)) {',
    faults: 'crash,pause_past_lease',
    minutes: 4,
  },
  {
    name: 'the clock forgets its ceiling over a restart',
    file: 'src/core/hlc/hlc.ts',
    find: 'this.wallMs = options.ceilingMs\n',
    replace: 'this.wallMs = 0\n',
    faults: 'crash_clock_set_back',
    minutes: 2,
  },
  {
    name: 'a consumer saves its position before the handler is done',
    file: 'src/runtime/consumers.ts',
    find: 'if (page.events.length > 0) await this.handler(',
    replace:
      'const early = plane.currentLease()\n        if (early !== null && page.events.length > 0) await journal.commitPositions(early, [{ group: this.group, shard, epoch, offset: page.scannedTo }])\n        if (page.events.length > 0) await this.handler(',
    faults: 'crash',
    minutes: 2,
  },
  {
    name: 'a consumer starts a handler without asking whether the shard is still its node’s',
    file: 'src/runtime/consumers.ts',
    find: 'if (signal.aborted || plane.segments(shard) === undefined) return',
    replace: '',
    faults: 'pause,pause_past_lease',
    minutes: 4,
  },
  {
    name: 'a consumer reads past the confirmed mark',
    file: 'src/sim/node.ts',
    find: '{ epoch, lease, first, last: confirmed.offset }',
    replace: '{ epoch, lease, first, last: confirmed.offset + 50 }',
    faults: 'pause,pause_past_lease',
    minutes: 4,
  },
  {
    name: 'a process is started elsewhere before its guard is gone',
    file: 'src/core/agents/coordinator.ts',
    find: "if (entry.spec?.kind !== 'process') return true",
    replace: 'if (at.nowMs > 0) return true',
    faults: 'crash,crash_quick_restart',
    minutes: 4,
  },
  {
    name: 'an agent is handed over while it still runs',
    file: 'src/core/agents/host.ts',
    find: "else if (mine.to !== null) this.stop(h, 'moved', mine.to)",
    replace: 'else if (mine.to !== null) this.handOver(h, entry, mine, mine.to, at.wallMs)',
    faults: 'crash',
    minutes: 2,
  },
  {
    name: 'an agent is given on because its node looks gone',
    file: 'src/core/node/agent-plane.ts',
    find: 'isLive: (lease) => this.isLive(lease),',
    replace:
      "isLive: (lease) => this.isLive(lease) && !this.candidates().some((c) => c.lease === lease && c.refusal === 'it is offline'),",
    faults: 'partition,one_way_partition,pause',
    minutes: 5,
  },
  {
    name: 'an agent is placed again under the same epoch',
    file: 'src/core/agents/coordinator.ts',
    find: 'epoch: asEpoch(floor + 1),',
    replace: 'epoch: asEpoch(Math.max(1, floor)),',
    faults: 'crash',
    minutes: 2,
  },
  {
    name: 'the epochs of removed agents are forgotten',
    file: 'src/core/agents/coordinator.ts',
    find: 'if (removed > floorOf(this.world.view)) {',
    replace: 'if (removed < 0) {',
    faults: 'crash',
    minutes: 3,
  },
  {
    name: 'what was packed for an agent counts for its successor of the same name',
    file: 'src/core/agents/table.ts',
    find: 'if (packed.madeRev !== entry.madeRev) continue',
    replace: '',
    faults: 'crash',
    minutes: 3,
  },
  {
    name: 'a guard lets its processes run past the deadline',
    file: 'src/sim/agents.ts',
    find: 'if (this.node.instant.nowMs >= this.deadlineMs) {',
    replace: 'if (this.deadlineMs < 0) {',
    faults: 'pause_past_lease,store_unreachable',
    minutes: 4,
  },
]
