/** Timing of the failure detector. The presets are in `config`; these are the LAN values. */
export interface MembershipOptions {
  /** How often each node probes, ms. Shorter: faster detection, more traffic (constant per node). */
  readonly probeIntervalMs: number
  /** How long a direct probe may take before others are asked, ms. Must exceed the round trip's p99. */
  readonly probeTimeoutMs: number
  /** Members asked to probe in our place (SWIM's k). */
  readonly indirectProbes: number
  /** Missed probes until a member is suspected. */
  readonly suspectAtMisses: number
  /** Missed probes until a suspected member is failed, if nobody refutes. */
  readonly failAtMisses: number
  /** Gossip rounds, ms, and members told per round. */
  readonly gossipIntervalMs: number
  readonly gossipFanout: number
  /** A rumour is repeated this many times log10(n+1), rounded up (SWIM's lambda). */
  readonly retransmitFactor: number
  /** Upper end of Lifeguard's local health score; timeouts stretch by score + 1. */
  readonly healthMax: number
  /** A step that comes this much late means that this node itself stood still, ms. */
  readonly ownStallMs: number
  /** Verdicts withheld for so many probe intervals after a stall of our own. */
  readonly ownStallRounds: number
  /** Members probed at every interval because we keep a connection to them (ring successors). */
  readonly sentinels: number
  /** Room for gossip in one datagram, bytes. */
  readonly datagramBytesMax: number
  /** Two state exchanges with differing digests are at least this far apart, ms. */
  readonly syncIntervalMs: number
  /** How often a failed member's last address is dialled again, ms: heals partitions without restarts. */
  readonly redialIntervalMs: number
  /** Failed and left members are forgotten after this, ms. */
  readonly forgetAfterMs: number
  /** Most members in the table; claims about more are refused with a note. */
  readonly membersMax: number
  /** Believe members that name link-local or metadata addresses as theirs. */
  readonly allowSpecialAddresses: boolean
}

export const lanMembership: MembershipOptions = {
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  indirectProbes: 3,
  suspectAtMisses: 2,
  failAtMisses: 5,
  gossipIntervalMs: 100,
  gossipFanout: 3,
  retransmitFactor: 4,
  healthMax: 8,
  ownStallMs: 300,
  ownStallRounds: 2,
  sentinels: 3,
  datagramBytesMax: 1_350,
  syncIntervalMs: 250,
  redialIntervalMs: 2_000,
  forgetAfterMs: 24 * 3_600_000,
  membersMax: 5_000,
  allowSpecialAddresses: false,
}
