/** Timings by kind of network, as differences from the LAN values. */
import type { LeaseOptions } from '../core/election/lease-keeper.js'
import { lanMembership, type MembershipOptions } from '../core/membership/options.js'

export interface Timing {
  readonly membership: MembershipOptions
  readonly lease: LeaseOptions
  /** The set of nodes must stand still so long before live owners are asked to give shards up, ms. */
  readonly settleMs: number
  readonly evictAfterMs: number
  /** No worker must have been missing for so long before standbys give back what they took, ms. */
  readonly standbyReliefMs: number
}

const lan: Timing = {
  membership: lanMembership,
  lease: { ttlMs: 5_000, renewIntervalMs: 1_000, wallGapMsMax: 500 },
  settleMs: 1_000,
  evictAfterMs: 1_000,
  standbyReliefMs: 10_000,
}

export const presets: Readonly<Record<'local' | 'lan' | 'wan', Timing>> = {
  local: {
    ...lan,
    membership: { ...lanMembership, probeIntervalMs: 500, probeTimeoutMs: 250 },
    lease: { ...lan.lease, ttlMs: 3_000, renewIntervalMs: 600 },
    settleMs: 300,
    evictAfterMs: 500,
    standbyReliefMs: 3_000,
  },
  lan,
  wan: {
    ...lan,
    membership: {
      ...lanMembership,
      probeIntervalMs: 2_000,
      probeTimeoutMs: 1_200,
      gossipIntervalMs: 300,
      syncIntervalMs: 1_000,
    },
    lease: { ...lan.lease, ttlMs: 15_000, renewIntervalMs: 3_000 },
    settleMs: 5_000,
    evictAfterMs: 4_000,
    standbyReliefMs: 30_000,
  },
}
