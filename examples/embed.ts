/**
 * A node inside a program of your own. Run it beside `npm start` and it joins that cluster; alone it is a cluster of one:
 *
 *   npx tsx examples/embed.ts
 *
 * It finds the others because its data directory lies beside theirs: store, journal and cookie are shared by all nodes
 * of `.skein`. Ctrl-C hands its shards over and leaves.
 */
import { createNode } from 'skein'

const node = await createNode({
  nodeId: 'embedded',
  dataDir: '.skein/embedded',
  peers: ['127.0.0.1:6745'],
  port: 0,
  peerPort: 0,
  logLevel: 'warn',
})
process.once('SIGINT', () => void node.stop({ reason: 'SIGINT' }))
console.log(`${node.self.id} is up: http://${node.self.httpAddress}/`)

// Runs wherever the shard of a key lives: with three other nodes, this one sees about a quarter of the keys.
node.events.consume('orders', (batch, { shard, epoch }) => {
  for (const { key, offset } of batch) console.log(`shard ${shard}, epoch ${epoch}: ${key} at ${offset}`)
})
node.leader.whileLeading((term, signal) => {
  console.log(`leading in term ${term}`)
  signal.addEventListener('abort', () => console.log('leading no more'))
})
for (const { id, isSelf } of node.members.list())
  if (!isSelf) node.members.monitor(id, (_, reason) => console.log(`${id} is down: ${reason}`))

for (let n = 1; n <= 20; n++) {
  const { status, offset } = await node.events.publish('orders', { key: `customer-${n}`, payload: { n } })
  console.log(`order ${n} is ${status} and durable at offset ${offset}`)
}
const { events } = await node.events.read({ stream: 'orders', key: 'customer-1' })
console.log(`customer-1 has ${events.length} orders, the last at ${events.at(-1)?.offset}`)

const { reason, error } = await node.ended
console.log(`stopped: ${error?.message ?? reason}`)
process.exit(error === undefined ? 0 : 1)
