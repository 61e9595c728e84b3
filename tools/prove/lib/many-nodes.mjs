// Many nodes in one process, with sockets and a store as real as in any other; tells its parent when each of them sees all.
import { join } from 'node:path'
import { createNode } from '../../../dist/index.js'

const [dir, index, count, total] = [
  process.argv[2],
  Number(process.argv[3]),
  Number(process.argv[4]),
  Number(process.argv[5]),
]
const nodes = []
const make = (i, peers) =>
  createNode({
    nodeId: `p${index}-${i}`,
    dataDir: join(dir, `p${index}-${i}`),
    port: 0,
    peerPort: 0,
    peers,
    threads: 'inline',
    http: false,
    logLevel: 'error',
  })

process.on('message', async (message) => {
  if (message.type === 'first') {
    nodes.push(await make(0, []))
    process.send({ type: 'first', address: nodes[0].self.peerAddress })
    return
  }
  const left = Array.from({ length: count - nodes.length }, (_, i) => nodes.length + i)
  for (const i of left) nodes.push(await make(i, [message.seed]))
  process.send({ type: 'started', atMs: Date.now() })
  const deadline = Date.now() + 30_000
  const look = () => {
    const seen = Math.min(
      ...nodes.map(
        (n) => n.members.list().filter((m) => m.observed === 'alive' && m.lifecycle === 'active').length,
      ),
    )
    if (seen === total) process.send({ type: 'whole', atMs: Date.now() })
    else if (Date.now() > deadline) process.send({ type: 'not_whole', seen })
    else setTimeout(look, 20)
  }
  look()
})
