// A node whose main thread stands still for ten seconds when it is told to. Built sources: the proof is about real threads.
import { createNode } from '../../../dist/index.js'

const node = await createNode(JSON.parse(process.argv[2]))
process.stdout.write(
  `${JSON.stringify({ id: node.self.id, pid: process.pid, http: node.self.httpAddress, peer: node.self.peerAddress })}\n`,
)
process.on('SIGUSR2', () => {
  const end = Date.now() + 10_000
  while (Date.now() < end);
})
process.on('SIGTERM', () => void node.stop().then(() => process.exit(0)))
