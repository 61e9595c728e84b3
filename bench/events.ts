// Durable events per second on one node, forwarded and over HTTP, against bare append and fdatasync of the same bytes
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode } from '../dist/index.js'

const rounds = Number(process.argv[2] ?? 3)
const perRound = Number(process.argv[3] ?? 60_000)
const batch = 500
const inFlight = 4
const payload = { text: 'x'.repeat(220), n: 0 }
const dir = mkdtempSync(join(tmpdir(), 'skein-bench-'))
process.once('exit', () => rmSync(dir, { recursive: true, force: true }))

const config = { port: 0, peerPort: 0, logLevel: 'error', threads: 'worker' } as const
const a = await createNode({ ...config, nodeId: 'a', dataDir: join(dir, 'a') })
let sequence = 0

type Keys = () => string

/** Batches of events with several under way; events per second. */
async function publish(
  keys: Keys,
  send: (events: { stream: string; key: string; id: string; payload: unknown }[]) => Promise<number>,
): Promise<number> {
  let left = perRound
  const startMs = performance.now()
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= batch
      const events = Array.from({ length: batch }, () => ({
        stream: 'bench',
        key: keys(),
        id: `b${++sequence}`,
        payload: { ...payload, n: sequence },
      }))
      const accepted = await send(events)
      if (accepted !== batch) throw new Error(`only ${accepted} of ${batch} were accepted`)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
  return (perRound * 1_000) / (performance.now() - startMs)
}

const direct = async (events: Parameters<typeof a.events.publishMany>[0]): Promise<number> =>
  (await a.events.publishMany(events)).filter((r) => r.status === 'accepted').length

async function overHttp(events: readonly unknown[]): Promise<number> {
  const response = await fetch(`http://${a.self.httpAddress}/api/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: events.map((e) => JSON.stringify(e)).join('\n'),
  })
  return ((await response.json()) as { accepted: number }).accepted
}

/** The limit: the same bytes, a batch per write, one fdatasync for all that wait. */
function bare(): number {
  const fd = openSync(join(dir, 'bare'), 'a')
  const startMs = performance.now()
  for (let sent = 0; sent < perRound; sent += batch * inFlight) {
    for (let lane = 0; lane < inFlight; lane++) {
      const text = Array.from({ length: batch }, () =>
        JSON.stringify({
          stream: 'bench',
          key: `k${sequence % 5_000}`,
          id: `b${++sequence}`,
          payload: { ...payload, n: sequence },
        }),
      ).join('\n')
      writeSync(fd, text)
    }
    fdatasyncSync(fd)
  }
  const rate = (perRound * 1_000) / (performance.now() - startMs)
  closeSync(fd)
  return rate
}

const anyKey: Keys = () => `k${sequence % 5_000}`
const results: Record<string, number[]> = { bare: [], direct: [], http: [], forwarded: [] }
for (let round = 0; round <= rounds; round++) {
  const row = { bare: bare(), direct: await publish(anyKey, direct), http: await publish(anyKey, overHttp) }
  // The first round warms up.
  if (round > 0) for (const [name, rate] of Object.entries(row)) results[name]?.push(rate)
}

const b = await createNode({ ...config, nodeId: 'b', dataDir: join(dir, 'b'), peers: [a.self.peerAddress] })
const deadline = Date.now() + 15_000
while (
  a.cluster.shards().filter((s) => s.owner === 'b' && s.state === 'open').length < 128 &&
  Date.now() < deadline
)
  await new Promise((done) => setTimeout(done, 50))
const owned = new Set(a.cluster.shards().flatMap((s) => (s.owner === 'b' ? [s.shard] : [])))
const foreign = Array.from({ length: 20_000 }, (_, i) => `k${i}`).filter((key) =>
  owned.has(a.cluster.route(key).shard),
)
for (let round = 0; round <= rounds; round++) {
  const rate = await publish(() => foreign[sequence % foreign.length] as string, direct)
  if (round > 0) results.forwarded?.push(rate)
}

const median = (list: number[]): number =>
  [...list].sort((x, y) => x - y)[Math.floor(list.length / 2)] as number
const rates = Object.fromEntries(
  Object.entries(results).map(([name, list]) => [name, Math.round(median(list))]),
) as Record<'bare' | 'direct' | 'http' | 'forwarded', number>
console.log(
  `events per second, ${batch} a batch, ${inFlight} batches under way, median of ${rounds} rounds of ${perRound}`,
)
for (const [name, rate] of Object.entries(rates))
  console.log(`${name.padEnd(10)} ${String(rate).padStart(8)}   ${(rate / rates.bare).toFixed(2)} of bare`)
console.log(
  JSON.stringify({
    bench: 'events',
    ...rates,
    direct_vs_bare: rates.direct / rates.bare,
    forwarded_vs_bare: rates.forwarded / rates.bare,
    http_vs_bare: rates.http / rates.bare,
  }),
)
await b.stop()
await a.stop()
process.exit(0)
