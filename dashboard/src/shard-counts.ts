/** How many shards each node has. Pure. */
import type { NodeJson, ShardJson } from './http-client.js'

/** The map says who has which shards: a node that is gone would still say what it had. */
export function withShards(nodes: readonly NodeJson[], shards: readonly ShardJson[]): readonly NodeJson[] {
  const owned = new Map<string, number>()
  for (const { owner } of shards) if (owner !== null) owned.set(owner, (owned.get(owner) ?? 0) + 1)
  return nodes.map((node) => ({ ...node, shards_owned: owned.get(node.id) ?? 0 }))
}
