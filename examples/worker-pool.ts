/**
 * A pool of workers by spawn: three nodes of one process here, the same on three machines. `npx tsx examples/worker-pool.ts`.
 * Each piece goes to the node that runs the least; one node leaves on the way, and what ran there runs again elsewhere.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, defineProcessor, type SkeinNode } from 'skein'

const dir = mkdtempSync(join(tmpdir(), 'worker-pool-'))

// How many primes there are from `from` to `to`: stops when it is told to, and may be run again.
const countPrimes = defineProcessor(
  'count-primes',
  async ({ from, to }: { from: number; to: number }, { signal }) => {
    let found = 0
    for (let n = Math.max(2, from); n < to; n++) {
      if (n % 1_000 === 0) await new Promise((turn) => setImmediate(turn))
      signal.throwIfAborted()
      let isPrime = true
      for (let d = 2; d * d <= n && isPrime; d++) isPrime = n % d !== 0
      if (isPrime) found++
    }
    return found
  },
  { isIdempotent: true, runningMax: 8 },
)

const nodes: SkeinNode[] = []
for (const nodeId of ['one', 'two', 'three']) {
  const peers = nodes.map((n) => n.self.peerAddress)
  const options = { peerPort: 0, http: false, shards: 8, preset: 'local', threads: 'inline' } as const
  const node = await createNode({ nodeId, peers, dataDir: join(dir, nodeId), logLevel: 'error', ...options })
  node.processors.register(countPrimes)
  nodes.push(node)
}
const [boss, , leaver] = nodes as [SkeinNode, SkeinNode, SkeinNode]
while (boss.members.list().filter((m) => m.status === 'online').length < 3)
  await new Promise((wait) => setTimeout(wait, 50))

// Eight at a time, each on the node that runs the least.
const pieces = Array.from({ length: 40 }, (_, i) => ({ from: i * 5_000, to: (i + 1) * 5_000 }))
const byNode = new Map<string, number>()
let total = 0
let left: Promise<void> | undefined
const work = async (): Promise<void> => {
  for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
    const run = await boss.spawn(countPrimes, piece, { on: 'least_agents', retries: 3 })
    boss.monitor(run, ({ ref, reason }) => {
      if (reason !== 'finished') console.log(`${ref.id} is down: ${reason}`)
    })
    const found = await run.result
    total += found
    byNode.set(run.nodeId, (byNode.get(run.nodeId) ?? 0) + 1)
    if (pieces.length < 20) left ??= leaver.stop({ reason: 'scaled down' })
  }
}
await Promise.all(Array.from({ length: 8 }, work))
await left

console.log(`${total} primes below 200000, pieces by node:`, Object.fromEntries(byNode))
for (const node of nodes) await node.stop()
rmSync(dir, { recursive: true, force: true })
if (total !== 17_984) process.exit(1)
