// A main thread blocked for ten seconds: seen as stalled, relieved of its work, never called failed
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json, type NodeJson, publish, sleep, until, Verdict } from './lib/cluster.js'

const verdict = new Verdict()
const dir = mkdtempSync(join(tmpdir(), 'skein-stall-'))
const children: ReturnType<typeof spawn>[] = []
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(dir, { recursive: true, force: true })
})

async function start(
  id: string,
  peers: string[],
): Promise<{ id: string; pid: number; http: string; peer: string }> {
  const config = { nodeId: id, port: 0, peerPort: 0, dataDir: join(dir, id), peers, logLevel: 'error' }
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'lib/blocked-node.mjs'), JSON.stringify(config)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  children.push(child)
  return new Promise((up, failed) => {
    let out = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      out += String(chunk)
      if (out.includes('\n')) up(JSON.parse(out.split('\n')[0] as string))
    })
    child.once('exit', (code) => failed(new Error(`${id} ended with ${code}`)))
  })
}

const a = await start('node-1', [])
const b = await start('node-2', [a.peer])
const c = await start('node-3', [a.peer, b.peer])
const nodesOf = async (http: string): Promise<NodeJson[]> =>
  ((await json(http, '/api/cluster/nodes')) as { nodes: NodeJson[] }).nodes
await until(
  async () => (await nodesOf(a.http)).filter((n) => n.status === 'online' && n.shards_owned > 0).length === 3,
  15_000,
  'three nodes with shards',
)

const leader = (await nodesOf(a.http)).find((n) => n.is_leader)?.id
const victim = [a, b, c].find((n) => n.id !== leader) as typeof a
const others = [a, b, c].filter((n) => n !== victim)
const startMs = performance.now()
process.kill(victim.pid, 'SIGUSR2')
let stalledMs = 0
let movedMs = 0
let everFailed = false
let refused = 0
let writes = 0
const pending: Promise<void>[] = []
while (performance.now() - startMs < 12_000) {
  for (const o of others) {
    const seen = (await nodesOf(o.http)).find((n) => n.id === victim.id)
    if (seen?.observed === 'failed' || seen?.status === 'offline') everFailed = true
    if (seen?.stalled === true && stalledMs === 0) stalledMs = performance.now() - startMs
  }
  const { shards } = (await json((others[0] as typeof a).http, '/api/cluster/shards')) as {
    shards: { owner: string }[]
  }
  if (movedMs === 0 && !shards.some((s) => s.owner === victim.id)) movedMs = performance.now() - startMs
  writes++
  pending.push(
    publish((others[0] as typeof a).http, {
      stream: 's',
      key: `k${writes}`,
      type: 't',
      payload: writes,
    }).then((answer) => {
      if (answer.status >= 400) refused++
    }),
  )
  await sleep(50)
}
await Promise.all(pending)
verdict.check('seen as stalled', stalledMs > 0, 'yes')
verdict.within('seen as stalled after about a second', stalledMs, 2_000)
verdict.check('never called failed', !everFailed, everFailed ? 'it was' : 'alive all the time')
verdict.check('its shards were taken off it while it stood still', movedMs > 0, `${movedMs.toFixed(0)} ms`)
verdict.check('no write was refused meanwhile', refused === 0, `${refused} of ${writes}`)
await until(
  async () => {
    const seen = (await nodesOf((others[0] as typeof a).http)).find((n) => n.id === victim.id)
    return seen?.healthy === true && seen.shards_owned > 0
  },
  10_000,
  'it to be healthy and own shards again',
)
verdict.check('healthy and with shards again', true, 'by itself')
verdict.end()
