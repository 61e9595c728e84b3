/**
 * A job that runs on one node of the cluster, whichever leads, and once for each of its times: three nodes of one process here, the same on three
 * machines. `npx tsx examples/cron.ts`.
 *
 * `whileLeading` says when to begin and when to stop; the id of the event that each run publishes keeps a run from counting twice where a leader was
 * lost in the middle.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createNode, type SkeinNode } from 'skein'

const dir = mkdtempSync(join(tmpdir(), 'cron-'))
const everyMs = 200

async function bill(node: SkeinNode, term: number, signal: AbortSignal): Promise<void> {
  console.log(`${node.self.id} leads in term ${term}`)
  try {
    for (;;) {
      const dueMs = Math.ceil((Date.now() + 1) / everyMs) * everyMs
      await pause(dueMs - Date.now(), undefined, { signal })
      const payload = { by: node.self.id, term }
      const { status } = await node.events.publish('billing', { key: 'runs', id: `at-${dueMs}`, payload })
      if (status === 'duplicate') console.log('the leader before had done this one')
    }
  } catch (error) {
    if (!signal.aborted) console.log(`${node.self.id}: ${String(error)}`)
  }
}

const nodes: SkeinNode[] = []
for (const nodeId of ['one', 'two', 'three']) {
  const peers = nodes.map((n) => n.self.peerAddress)
  const options = { peerPort: 0, http: false, shards: 4, preset: 'local', threads: 'inline' } as const
  const node = await createNode({ nodeId, peers, dataDir: join(dir, nodeId), logLevel: 'error', ...options })
  node.leader.whileLeading((term, signal) => bill(node, term, signal))
  nodes.push(node)
}

// Two leaders leave, one after the other.
for (let i = 0; i < 2; i++) {
  await pause(1_000)
  const leader = nodes.find((n) => n.leader.get()?.isSelf === true)
  if (leader === undefined) throw new Error('nobody leads')
  nodes.splice(nodes.indexOf(leader), 1)
  await leader.stop({ reason: 'scaled down' })
}
await pause(1_000)

const [last] = nodes as [SkeinNode]
const { events } = await last.events.read({ stream: 'billing', key: 'runs', limit: 1_000 })
const ids = events.map(({ id }) => id)
const by = new Set(events.map(({ payload }) => (payload as { by: string }).by))
console.log(`${ids.length} runs by ${by.size} leaders, ${new Set(ids).size} different`)

await last.stop()
rmSync(dir, { recursive: true, force: true })
if (new Set(ids).size !== ids.length || by.size !== 3) process.exit(1)
