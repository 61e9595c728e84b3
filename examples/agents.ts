/**
 * Objects that live on exactly one node: a counter for each player, called from any node, moved while it is called, and there again after its node
 * left. Three nodes of one process here, the same on three machines. `npx tsx examples/agents.ts`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AgentContext, createNode, defineAgent, type SkeinNode } from 'skein'

interface Score {
  points: number
}

const Player = defineAgent('player', {
  state: { points: 0 },
  on: {
    score: (ctx: AgentContext<Score>, points: number) => (ctx.state.points += points),
    points: (ctx: AgentContext<Score>) => ctx.state.points,
  },
})

const dir = mkdtempSync(join(tmpdir(), 'agents-'))
const nodes: SkeinNode[] = []
for (const nodeId of ['one', 'two', 'three']) {
  const peers = nodes.map((n) => n.self.peerAddress)
  const options = { peerPort: 0, http: false, shards: 8, preset: 'local', threads: 'inline' } as const
  const node = await createNode({ nodeId, peers, dataDir: join(dir, nodeId), logLevel: 'error', ...options })
  node.agents.define(Player)
  nodes.push(node)
}
const [one] = nodes as [SkeinNode]
const names = ['ada', 'bob', 'cyd', 'dan', 'eve', 'fay']
for (const name of names) await one.agents.place(Player, name, { strategy: 'least_agents' })
const where = async (name: string): Promise<string> => (await one.agents.show(name)).nodeId ?? 'nowhere'
const places = async (): Promise<string> =>
  (await Promise.all(names.map(async (name) => `${name} on ${await where(name)}`))).join(', ')
console.log(`placed: ${await places()}`)

// The other nodes hear of them a moment later.
const [, two] = nodes as [SkeinNode, SkeinNode]
while ((await two.agents.list()).length < names.length) await new Promise((wait) => setTimeout(wait, 20))

// Calls from all nodes while one agent moves and a node leaves: each is carried out once.
const rounds = 60
const score = async (from: SkeinNode): Promise<void> => {
  for (let i = 0; i < rounds; i++)
    await Promise.all(names.map((name) => from.agents.get(Player, name).score(1)))
}
const scoring = Promise.all([score(one), score(two)])
const to = (await where('ada')) === 'one' ? 'two' : 'one'
await one.agents.migrate('ada', { to })
console.log(`ada moved to ${to}`)
await nodes[2]?.stop({ reason: 'scaled down' })
await scoring
console.log(`after three left: ${await places()}`)

const points = await Promise.all(names.map((name) => one.agents.get(Player, name).points()))
console.log(`points: ${points.join(' ')}, ${2 * rounds} each were scored`)

for (const node of nodes.slice(0, 2)) await node.stop()
rmSync(dir, { recursive: true, force: true })
if (points.some((p) => p !== 2 * rounds)) process.exit(1)
