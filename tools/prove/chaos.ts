// Three clients publish two real logs a hundred times against three nodes while nodes are killed, restarted and stopped: nothing acknowledged is lost
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { json, ProcessCluster, type ProcessNode, publish, sleep, until, Verdict } from './lib/cluster.js'

/** Rounds over both logs (100 by default), and where the logs are. */
const rounds = Number(process.argv[2] ?? 100)
const dataDir = process.argv[3] ?? process.env.SKEIN_LOGS ?? '../shared/data'
const logs = [
  { stream: 'hdfs', file: 'HDFS_2k.log', key: /blk_-?\d+/ },
  { stream: 'openstack', file: 'OpenStack_2k.log', key: /req-[0-9a-f-]+/ },
]
const batchLines = 400
/** Pause of a client between batches, ms: the load lasts long enough for many faults. */
const paceMs = Number(process.argv[4] ?? 250)

interface Sent {
  readonly key: string
  readonly stream: string
  shard: number
  offset: number
  /** Place of its acknowledged batch in the order of its client. */
  batch: number
  readonly client: number
}

const lines: { stream: string; key: string; text: string; n: number }[] = []
for (const { stream, file, key } of logs) {
  const path = join(dataDir, file)
  if (existsSync(path))
    readFileSync(path, 'utf8')
      .split('\n')
      .forEach((text, n) => {
        const found = key.exec(text)?.[0]
        if (found !== undefined) lines.push({ stream, key: found, text: text.trimEnd(), n })
      })
  else {
    console.log(`SKIPPED the real log ${path}: it is not there; lines of the same shape are made up instead`)
    for (let n = 0; n < 2_000; n++)
      lines.push({ stream, key: `${stream}-${n % 700}`, text: `line ${n} of a made-up log`, n })
  }
}

const verdict = new Verdict()
const cluster = new ProcessCluster()
await cluster.start(3)
const sent = new Map<string, Sent>()
const counts = { acknowledged: 0, resent: 0, duplicates: 0, kills: 0, stops: 0 }
let running = 3
let longestGapMs = 0

/** One client works through every third round, always against "its" node first. */
async function client(index: number): Promise<void> {
  let target = index
  let batchNumber = 0
  let lastAckMs = performance.now()
  for (let round = index; round < rounds; round += 3) {
    for (let from = 0; from < lines.length; from += batchLines) {
      let left = lines.slice(from, from + batchLines).map((l) => ({
        stream: l.stream,
        key: l.key,
        id: `${l.stream}:${round}:${l.n}`,
        type: 'line',
        payload: { line: l.text },
      }))
      await sleep(paceMs)
      batchNumber++
      lastAckMs = performance.now()
      const deadline = Date.now() + 60_000
      while (left.length > 0) {
        if (Date.now() > deadline) throw new Error(`client ${index}: one batch was not accepted for 60 s`)
        const node = cluster.nodes[target % 3] as ProcessNode
        const answer = await publish(node.http, left, 8_000).catch(() => undefined)
        const results = answer?.body.results
        if (results === undefined || results.length !== left.length) {
          counts.resent += left.length
          target++
          await sleep(100)
          continue
        }
        longestGapMs = Math.max(longestGapMs, performance.now() - lastAckMs)
        lastAckMs = performance.now()
        left = left.filter((event, i) => {
          const r = results[i] as NonNullable<typeof results>[number]
          if (r.status === 'rejected') {
            if (r.error?.retryable === false)
              throw new Error(`${event.id}: ${r.error.code} ${r.error.detail}`)
            counts.resent++
            return true
          }
          if (r.status === 'duplicate') counts.duplicates++
          counts.acknowledged++
          sent.set(event.id, {
            key: event.key,
            stream: event.stream,
            shard: r.shard,
            offset: r.offset,
            batch: batchNumber,
            client: index,
          })
          return false
        })
        if (left.length > 0) await sleep(50)
      }
    }
    target = index
  }
  running--
}

async function trouble(): Promise<void> {
  for (let i = 0; running > 0; i++) {
    await sleep(1_500)
    const victim = cluster.nodes[i % 3] as ProcessNode
    if (running === 0) return
    counts.kills++
    await victim.kill()
    await sleep(700)
    await victim.start()
    await sleep(1_500)
    const frozen = cluster.nodes[(i + 1) % 3] as ProcessNode
    if (running === 0) return
    counts.stops++
    frozen.signal('SIGSTOP')
    await sleep(8_000)
    await frozen.resume()
    await sleep(1_000)
  }
}

const startMs = performance.now()
await Promise.all([client(0), client(1), client(2), trouble()])
const seconds = (performance.now() - startMs) / 1_000
console.log(
  `${counts.acknowledged} events acknowledged in ${seconds.toFixed(0)} s (${Math.round(counts.acknowledged / seconds)}/s), ${counts.resent} sent again, ${counts.duplicates} answered as duplicates, ${counts.kills} kill -9, ${counts.stops} SIGSTOP of 8 s, longest wait of a client ${Math.round(longestGapMs)} ms`,
)
await until(() => cluster.isWhole(), 30_000, 'the cluster to be whole')

const stored = new Map<string, { shard: number; offset: number; epoch: number; key: string }[]>()
const owners = new Map<string, Set<string>>()
for (const { stream } of logs) {
  let after: string | undefined
  let page = 0
  do {
    // Any node answers for the whole cluster: ask them in turn.
    const node = cluster.nodes[page++ % 3] as ProcessNode
    const query = new URLSearchParams({ stream, limit: '1000', ...(after === undefined ? {} : { after }) })
    const answer = (await json(node.http, `/api/events?${query}`, 20_000)) as {
      events: { id: string; shard: number; offset: number; epoch: number; key: string }[]
      next_cursor?: string
      incomplete?: unknown[]
    }
    if ((answer.incomplete?.length ?? 0) > 0)
      throw new Error(`a page is incomplete: ${JSON.stringify(answer.incomplete?.[0])}`)
    for (const e of answer.events) {
      const list = stored.get(e.id)
      if (list === undefined) stored.set(e.id, [e])
      else list.push(e)
    }
    after = answer.next_cursor
  } while (after !== undefined)
}

let lost = 0
let twice = 0
let moved = 0
for (const [id, s] of sent) {
  const found = stored.get(id)
  if (found === undefined) lost++
  else if (found.length > 1) twice++
  else if (found[0]?.offset !== s.offset || found[0]?.shard !== s.shard) moved++
}
let disorder = 0
const byKey = new Map<string, Sent[]>()
for (const s of sent.values()) {
  const key = `${s.client}/${s.stream}/${s.key}`
  const list = byKey.get(key)
  if (list === undefined) byKey.set(key, [s])
  else list.push(s)
}
// A client's later batch was sent after the earlier one was acknowledged: per key its offsets must rise from batch to batch.
for (const list of byKey.values()) {
  list.sort((a, b) => a.batch - b.batch || a.offset - b.offset)
  for (let i = 1; i < list.length; i++) {
    const [a, b] = [list[i - 1] as Sent, list[i] as Sent]
    if (a.batch < b.batch && a.offset >= b.offset) disorder++
  }
}
// An offset of a shard belongs to one epoch, and epochs rise with offsets: two owners under one epoch would collide here.
let collisions = 0
const perShard = new Map<number, Map<number, number>>()
for (const list of stored.values()) {
  for (const e of list) {
    const offsets = perShard.get(e.shard) ?? new Map<number, number>()
    if (offsets.has(e.offset)) collisions++
    offsets.set(e.offset, e.epoch)
    perShard.set(e.shard, offsets)
  }
}
for (const offsets of perShard.values()) {
  let last = 0
  for (const [, epoch] of [...offsets].sort((a, b) => a[0] - b[0])) {
    if (epoch < last) collisions++
    last = epoch
  }
}
for (const node of cluster.nodes) {
  const { events } = (await json(node.http, '/api/cluster/history?limit=1000')) as {
    events: { event: string; fields: { term?: number; leader?: string } }[]
  }
  for (const e of events)
    if (e.event === 'leader.elected')
      owners.set(
        `term ${e.fields.term}`,
        (owners.get(`term ${e.fields.term}`) ?? new Set()).add(String(e.fields.leader)),
      )
}
verdict.check('every acknowledged event is read back', lost === 0, `${lost} lost of ${sent.size}`)
verdict.check('exactly once', twice === 0, `${twice} stored twice of ${stored.size}`)
verdict.check('where it was acknowledged', moved === 0, `${moved} at another offset`)
verdict.check(
  'each key in its acknowledged order',
  disorder === 0,
  `${disorder} out of order over ${byKey.size} keys`,
)
verdict.check(
  'each (shard, epoch) has one owner',
  collisions === 0,
  `${collisions} offsets given twice or under a falling epoch, ${perShard.size} shards`,
)
verdict.check(
  'one leader per term',
  [...owners.values()].every((s) => s.size === 1),
  `${owners.size} terms seen`,
)
verdict.check(
  'kills and stops happened',
  counts.kills > 0 && counts.stops > 0,
  `${counts.kills} and ${counts.stops}`,
)
verdict.end()
