/**
 * Who sits in the etcd cluster: given its members and the nodes that would like a seat, what is the one next step? Pure; carried out
 * about once a second by the node whose member leads, so that there is one planner, and checked by etcd, which accepts one change at a time.
 *
 * - A seat is first taken as a learner, which has no vote: a server that turns out not to work never endangers the quorum.
 * - A vote is given where it makes the number of votes odd, or where another node waits to make it odd right after.
 * - A member is removed only for a node that takes its seat: fewer votes do not help the others. The member of a node that has
 *   returned without its data is removed at once (nobody else can have that address), another silent one after a time of grace.
 */
export interface SeatMember {
  readonly id: string
  /** Empty until it has started for the first time. */
  readonly name: string
  readonly peerUrl: string
  readonly isLearner: boolean
  /** How long it has not answered. */
  readonly silentMs: number
}

/** A node that is up and runs a member, or would. In the order in which they came. */
export interface SeatNode {
  readonly address: string
  readonly peerUrl: string
  /** Of its member, present or to be. */
  readonly name: string
}

export type SeatAction =
  | { readonly type: 'add'; readonly peerUrl: string }
  | { readonly type: 'promote'; readonly id: string; readonly name: string }
  | { readonly type: 'remove'; readonly id: string; readonly name: string; readonly reason: string }

export interface SeatLimits {
  readonly seats: number
  /** A silent voter's node may come back for so long before a waiting node takes the seat. */
  readonly deadVoterMs: number
  /** A learner that does not get going keeps everybody else out. */
  readonly deadLearnerMs: number
}

export const seatLimits = { deadVoterMs: 15_000, deadLearnerMs: 30_000 } as const

export function planSeats(
  members: readonly SeatMember[],
  nodes: readonly SeatNode[],
  limits: SeatLimits,
): SeatAction | undefined {
  const voters = members.filter(({ isLearner }) => !isLearner)
  const learner = members.find(({ isLearner }) => isLearner)
  const hasSeat = (node: SeatNode) => members.some(({ peerUrl }) => peerUrl === node.peerUrl)
  const waiting = nodes.filter((node) => !hasSeat(node))
  return (
    removeEmptied(members, nodes) ??
    (learner === undefined ? undefined : planLearner(learner, voters, waiting, nodes, limits)) ??
    planAdding(learner, voters, waiting, nodes, limits)
  )
}

/** The node is there under another name: it has begun anew, and the old member's data are gone. */
function removeEmptied(members: readonly SeatMember[], nodes: readonly SeatNode[]): SeatAction | undefined {
  for (const { id, name, peerUrl } of members) {
    const node = nodes.find((one) => one.peerUrl === peerUrl)
    if (node !== undefined && name !== '' && node.name !== name) {
      return { type: 'remove', id, name, reason: `its node ${node.address} has come back without its data` }
    }
  }
  return undefined
}

function planLearner(
  learner: SeatMember,
  voters: readonly SeatMember[],
  waiting: readonly SeatNode[],
  nodes: readonly SeatNode[],
  { seats, deadLearnerMs }: SeatLimits,
): SeatAction | undefined {
  const { id, name, silentMs } = learner
  const isWanted = nodes.some(({ peerUrl }) => peerUrl === learner.peerUrl)
  if (silentMs > deadLearnerMs && !(isWanted && name === '' && silentMs < 2 * deadLearnerMs)) {
    return { type: 'remove', id, name, reason: `it has not got going for ${Math.round(silentMs / 1000)} s` }
  }
  if (name === '' || silentMs > 0) return undefined
  const votes = voters.length + 1
  const isOdd = votes % 2 === 1
  return votes <= seats && (isOdd || (waiting.length > 0 && votes < seats))
    ? { type: 'promote', id, name }
    : undefined
}

function planAdding(
  learner: SeatMember | undefined,
  voters: readonly SeatMember[],
  waiting: readonly SeatNode[],
  nodes: readonly SeatNode[],
  { seats, deadVoterMs }: SeatLimits,
): SeatAction | undefined {
  const next = waiting[0]
  if (learner !== undefined || next === undefined) return undefined
  if (voters.length < seats) return { type: 'add', peerUrl: next.peerUrl }
  const dead = voters.find(
    ({ silentMs, peerUrl }) => silentMs > deadVoterMs && !nodes.some((node) => node.peerUrl === peerUrl),
  )
  if (dead === undefined) return undefined
  const reason = `its node has been away for ${Math.round(dead.silentMs / 1000)} s and ${next.address} waits for a seat`
  return { type: 'remove', id: dead.id, name: dead.name, reason }
}
