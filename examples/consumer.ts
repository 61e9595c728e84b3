/**
 * Running totals per key: three nodes of one process here, the same on three machines. `npx tsx examples/consumer.ts`.
 * Every key has one owner at a time, which consumes its events in order; when a node leaves, the next owner goes on after the last batch that was done.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, type SkeinNode } from 'skein'

const dir = mkdtempSync(join(tmpdir(), 'consumer-'))
const customers = ['ada', 'bob', 'cyd', 'dan', 'eve', 'fay']
const ordersOfEach = 50

/** What each customer spent. A program with more than one process would keep it in its database, with the event's id beside it. */
const totals = new Map<string, { sum: number; lastOffset: number }>()
const byNode = new Map<string, number>()

function consumeOn(node: SkeinNode): void {
  node.events.consume('orders', (batch, { shard, epoch }) => {
    for (const { key, payload, offset } of batch) {
      const total = totals.get(key) ?? { sum: 0, lastOffset: 0 }
      // At least once: what comes again, after a node went in the middle of a batch, is known by its offset.
      if (offset <= total.lastOffset) continue
      totals.set(key, { sum: total.sum + (payload as { price: number }).price, lastOffset: offset })
      byNode.set(node.self.id, (byNode.get(node.self.id) ?? 0) + 1)
    }
    if (batch.length > 1) console.log(`${node.self.id}: ${batch.length} of shard ${shard} in epoch ${epoch}`)
  })
}

const nodes: SkeinNode[] = []
for (const nodeId of ['one', 'two', 'three']) {
  const peers = nodes.map((n) => n.self.peerAddress)
  const options = { peerPort: 0, http: false, shards: 12, preset: 'local', threads: 'inline' } as const
  const node = await createNode({ nodeId, peers, dataDir: join(dir, nodeId), logLevel: 'error', ...options })
  consumeOn(node)
  nodes.push(node)
}
const [shop, , leaver] = nodes as [SkeinNode, SkeinNode, SkeinNode]

// Shards come to a node that has just joined; until then there is nothing to see.
const owners = (): number => new Set(shop.cluster.shards().map(({ owner }) => owner)).size
while (owners() < 3) await new Promise((wait) => setTimeout(wait, 20))

let left: Promise<void> | undefined
for (let n = 1; n <= ordersOfEach; n++) {
  // Resolves when they are durable. An event with an id of your own may be published again after an error.
  await Promise.all(
    customers.map((key) => shop.events.publish('orders', { key, id: `${key}-${n}`, payload: { price: n } })),
  )
  if (n === ordersOfEach / 2) left = leaver.stop({ reason: 'scaled down' })
}
await left

const expected = (ordersOfEach * (ordersOfEach + 1)) / 2
const untilMs = Date.now() + 30_000
const isDone = (): boolean => customers.every((key) => totals.get(key)?.sum === expected)
while (!isDone() && Date.now() < untilMs) await new Promise((wait) => setTimeout(wait, 20))
for (const key of customers) console.log(`${key} spent ${totals.get(key)?.sum} of ${expected}`)
console.log('orders by node:', Object.fromEntries(byNode))

for (const node of nodes) await node.stop()
rmSync(dir, { recursive: true, force: true })
if (!isDone()) process.exit(1)
