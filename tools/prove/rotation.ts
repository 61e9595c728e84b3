// The cookie, then the certificates and their authority, are changed under load: no member lost, no event refused or lost, the old ones worth nothing
import { parseArgs } from 'node:util'
import { sleep, Verdict } from './lib/cluster.js'
import { GuardedCluster, type GuardedNode, isWithoutLoopbacks, type Proof } from './lib/guarded-cluster.js'
import { Load } from './lib/load.js'

if (isWithoutLoopbacks('rotation')) process.exit(0)
const { values } = parseArgs({
  options: { seconds: { type: 'string' }, proof: { type: 'string', multiple: true } },
})
/** Load after each step. A lost member is suspected after two seconds and failed after five. */
const stepMs = Number(values.seconds ?? 10) * 1_000
const verdict = new Verdict()
const bad = ['member.suspected', 'member.failed', 'member.left', 'lease.lost', 'leader.elected']

/** How many members a node takes for healthy, all the while. */
function watch(nodes: readonly GuardedNode[]): { stop(): Promise<number> } {
  let least = Number.POSITIVE_INFINITY
  let isOver = false
  const looking = nodes.map(async (node) => {
    while (!isOver) {
      least = Math.min(least, (await node.members()).filter(({ healthy }) => healthy).length)
      await sleep(200)
    }
  })
  return {
    async stop() {
      isOver = true
      await Promise.all(looking)
      return least
    },
  }
}

async function rotate(proof: Proof): Promise<void> {
  const cluster = new GuardedCluster(proof)
  await cluster.start(3)
  const { nodes } = cluster
  const joinLate = await cluster.makeLatecomer()
  const before = await Promise.all(nodes.map((node) => node.history()))
  const pids = nodes.map(({ pid }) => pid)
  const load = new Load(cluster, 'rotation')
  const health = watch(nodes)
  const steps =
    proof === 'cookie'
      ? (['add', 'use', 'drop'] as const).map((step) => ({ step, run: () => cluster.rotateCookie(step) }))
      : (['renew', 'trust both', 'use the new', 'drop the old'] as const).map((step) => ({
          step,
          run: () => cluster.rotateCertificates(step),
        }))
  for (const { step, run } of steps) {
    await run()
    const acknowledged = load.acknowledged.size
    await sleep(stepMs)
    console.log(`     ${proof}, ${step}: ${load.acknowledged.size - acknowledged} events acknowledged since`)
  }
  await load.stop()
  const least = await health.stop()
  verdict.check(`${proof}: nobody lost sight of a member`, least === 3, `at least ${least} of 3 healthy`)
  for (const [i, node] of nodes.entries()) {
    const since = (await node.history()).slice((before[i] as string[]).length)
    const seen = since.filter((event) => bad.includes(event))
    verdict.check(`${proof}: ${node.id} tells of nothing`, seen.length === 0, seen.join(', ') || 'nothing')
    const rejected = node.said('peer.rejected')
    verdict.check(`${proof}: ${node.id} rejected nobody`, rejected.length === 0, `${rejected.length} times`)
  }
  const isSame = nodes.every((node, i) => node.isRunning && node.pid === pids[i])
  verdict.check(`${proof}: no process ended`, isSame, pids.join(', '))
  verdict.check(`${proof}: no event refused`, load.refused === 0, load.refusals[0] ?? 'none')
  for (const node of nodes) {
    const difference = await load.differs(node)
    const figure = difference ?? `${load.acknowledged.size} events`
    verdict.check(
      `${proof}: ${node.id} reads back what was acknowledged, once each`,
      difference === undefined,
      figure,
    )
  }
  const late = await joinLate()
  verdict.check(
    `${proof}: with the old ${proof === 'cookie' ? 'cookie' : 'authority'} nobody joins`,
    /bad_cookie|bad_certificate/.test(late),
    /bad_\w+/.exec(late)?.[0] ?? late.slice(-200),
  )
  const added = await cluster.add()
  const took = await cluster.untilWhole()
  verdict.check(`${proof}: with the new one ${added.id} joins`, true, `all whole after ${took.toFixed(0)} ms`)
  cluster.end()
}

for (const proof of (values.proof ?? ['cookie', 'certificates']) as Proof[]) await rotate(proof)
verdict.end()
