/**
 * The shard planner: who should own what, with the fewest moves. Pure arithmetic over the present owners and the nodes that may own.
 *
 * Every node gets its fair share, rounded down or up; a shard moves only if its owner may not keep it or has more than its share. Shares
 * rounded up go to those who already hold that many, so that a plan is stable: planning its own outcome moves nothing. Among equals the
 * zone with the fewest shards per node is filled first.
 */
import type { NodeId, ShardId } from '../kernel/brand.js'

export interface PlannerNode {
  readonly nodeId: NodeId
  readonly zone: string
  /** False: keeps what it has, within its share, but gets nothing new (suspected, stalled for a moment). */
  readonly canReceive: boolean
}

/**
 * @param owners present owner of each shard, null for none
 * @param nodes those that may own shards at all; an owner that is not among them loses its shards
 * @returns the wanted owner of each shard; null only where no node can receive
 */
export function planShards(
  owners: readonly (NodeId | null)[],
  nodes: readonly PlannerNode[],
): (NodeId | null)[] {
  const wanted = new Array<NodeId | null>(owners.length).fill(null)
  if (nodes.length === 0) return wanted
  const held = new Map<NodeId, ShardId[]>(nodes.map((n) => [n.nodeId, []]))
  owners.forEach((owner, shard) => {
    if (owner !== null) held.get(owner)?.push(shard)
  })
  const shares = fairShares(owners.length, nodes, held)
  const free: ShardId[] = []
  owners.forEach((owner, shard) => {
    const mine = owner === null ? undefined : held.get(owner)
    if (owner === null || mine === undefined) free.push(shard)
  })
  for (const node of nodes) {
    const mine = held.get(node.nodeId) as ShardId[]
    const share = shares.get(node.nodeId) as number
    mine.slice(0, share).forEach((shard) => {
      wanted[shard] = node.nodeId
    })
    free.push(...mine.splice(share))
  }
  free.sort((a, b) => a - b)
  const receivers = nodes.filter((n) => n.canReceive)
  for (const shard of free) {
    const best = emptiest(receivers, held, shares)
    if (best === undefined) {
      // Nobody may take it: whoever holds it keeps it.
      const owner = owners[shard] as NodeId | null
      wanted[shard] = owner !== null && held.has(owner) ? owner : null
      continue
    }
    wanted[shard] = best.nodeId
    held.get(best.nodeId)?.push(shard)
  }
  return wanted
}

/** What each node is to hold: those that get nothing new keep up to a fair share, the others divide the rest. */
function fairShares(
  shards: number,
  nodes: readonly PlannerNode[],
  held: ReadonlyMap<NodeId, ShardId[]>,
): Map<NodeId, number> {
  const count = (node: PlannerNode): number => held.get(node.nodeId)?.length ?? 0
  const shares = new Map<NodeId, number>()
  const receivers = nodes.filter((n) => n.canReceive)
  const shareMax = receivers.length === 0 ? shards : Math.ceil(shards / nodes.length)
  let rest = shards
  for (const node of nodes) {
    if (node.canReceive) continue
    const share = Math.min(count(node), shareMax)
    shares.set(node.nodeId, share)
    rest -= share
  }
  const low = Math.floor(rest / Math.max(1, receivers.length))
  let extra = rest - low * receivers.length
  // Those who hold more keep the odd ones; then the smaller name, for want of a better reason.
  const order = [...receivers].sort((a, b) => count(b) - count(a) || (a.nodeId < b.nodeId ? -1 : 1))
  for (const node of order) {
    shares.set(node.nodeId, low + (extra > 0 ? 1 : 0))
    extra--
  }
  return shares
}

function emptiest(
  nodes: readonly PlannerNode[],
  held: ReadonlyMap<NodeId, readonly ShardId[]>,
  shares: ReadonlyMap<NodeId, number>,
): PlannerNode | undefined {
  const zoneLoad = new Map<string, { shards: number; nodes: number }>()
  for (const node of nodes) {
    const load = zoneLoad.get(node.zone) ?? { shards: 0, nodes: 0 }
    load.shards += held.get(node.nodeId)?.length ?? 0
    load.nodes++
    zoneLoad.set(node.zone, load)
  }
  const perNode = (zone: string): number => {
    const load = zoneLoad.get(zone) as { shards: number; nodes: number }
    return load.shards / load.nodes
  }
  let best: PlannerNode | undefined
  let bestRoom = 0
  for (const node of nodes) {
    const room = (shares.get(node.nodeId) ?? 0) - (held.get(node.nodeId)?.length ?? 0)
    if (
      best === undefined ||
      room > bestRoom ||
      (room === bestRoom && perNode(node.zone) < perNode(best.zone))
    ) {
      best = node
      bestRoom = room
    }
  }
  return best
}
