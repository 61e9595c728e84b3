/**
 * How fast the SQLite journal makes events durable, beside a bare append + fdatasync of the same bytes in the same run.
 * Both write in rounds of the same size, interleaved, so that the machine's moods meet both. Prints one JSON line.
 *
 *     npx tsx bench/journal.ts [events per append = 1000] [seconds per side = 5] [directory]
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { asEpoch, asLeaseId } from '../src/core/kernel/brand.js'
import { SqliteJournal } from '../src/drivers/journal-sqlite/sqlite-journal.js'
import { BlockEncoder } from '../src/engines/journal/block.js'
import type { AppendGroup, JournalEvent } from '../src/ports/journal.js'

const batchEvents = Number(process.argv[2] ?? 1000)
const seconds = Number(process.argv[3] ?? 5)
const directory = mkdtempSync(join(process.argv[4] ?? tmpdir(), 'skein-bench-'))
const shards = 256
const roundMs = 500
const appendsUnderWay = 4

const lease = asLeaseId('bench')
const nextOffset = new Array<number>(shards).fill(1)
let serial = 0

function makeEvent(): JournalEvent {
  const n = serial++
  const payload = JSON.stringify({ trace: `trace-${n % 977}`, span: n, text: 'x'.repeat(200) })
  return {
    stream: 'traces',
    key: `trace-${n % 977}`,
    id: `${n}-0f3c9a`,
    type: 'span',
    payload,
    hlc: `01hlc${n}`,
    atMs: Date.now(),
  }
}

function makeBatch(): AppendGroup[] {
  const perShard = new Map<number, JournalEvent[]>()
  for (let i = 0; i < batchEvents; i++) {
    const event = makeEvent()
    const shard = (serial * 7919) % shards
    const list = perShard.get(shard)
    if (list === undefined) perShard.set(shard, [event])
    else list.push(event)
  }
  return [...perShard].map(([shard, events]) => {
    const firstOffset = nextOffset[shard] as number
    nextOffset[shard] = firstOffset + events.length
    return { shard, epoch: asEpoch(1), firstOffset, events }
  })
}

const journal = new SqliteJournal({
  directory,
  workerUrl: new URL('../dist/drivers/journal-sqlite/worker.js', import.meta.url),
})
await journal.open()
await journal.openLease(lease)
const fd = openSync(join(directory, 'bare.log'), 'a')
const totals = { journalEvents: 0, journalMs: 0, bareEvents: 0, bareMs: 0, makingMs: 0 }
const latencies: number[] = []
const cpu = { mainUs: 0 }

async function journalRound(): Promise<void> {
  const startMs = performance.now()
  const lane = async () => {
    while (performance.now() - startMs < roundMs) {
      const makingMs = performance.now()
      const batch = makeBatch()
      const sentMs = performance.now()
      totals.makingMs += sentMs - makingMs
      await journal.append(lease, batch)
      latencies.push(performance.now() - sentMs)
      totals.journalEvents += batchEvents
    }
  }
  const before = performance.eventLoopUtilization()
  await Promise.all(Array.from({ length: appendsUnderWay }, lane))
  const elapsedMs = performance.now() - startMs
  totals.journalMs += elapsedMs
  cpu.mainUs += performance.eventLoopUtilization(before).utilization * elapsedMs * 1000
}

function bareRound(): void {
  const startMs = performance.now()
  while (performance.now() - startMs < roundMs) {
    const encoder = new BlockEncoder()
    for (const group of makeBatch().map((group) => ({ ...group }))) encoder.add(group)
    const { bytes } = encoder.take()
    writeSync(fd, bytes)
    fdatasyncSync(fd)
    totals.bareEvents += batchEvents
  }
  totals.bareMs += performance.now() - startMs
}

/** The bare side makes batches too, but must not use up the journal's offsets. */
function withoutOffsets(run: () => void): void {
  const kept = [...nextOffset]
  run()
  nextOffset.splice(0, nextOffset.length, ...kept)
}

await journalRound()
for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] = 0
latencies.length = 0
cpu.mainUs = 0
for (let done = 0; done < seconds * 1000; done += roundMs) {
  await journalRound()
  withoutOffsets(bareRound)
}
const { bytes } = await journal.health()
await journal.close()
closeSync(fd)
rmSync(directory, { recursive: true, force: true })

latencies.sort((a, b) => a - b)
const at = (q: number) => Number((latencies[Math.floor(latencies.length * q)] ?? 0).toFixed(2))
const journalPerS = Math.round((totals.journalEvents / totals.journalMs) * 1000)
const barePerS = Math.round((totals.bareEvents / totals.bareMs) * 1000)
console.log(
  JSON.stringify({
    bench: 'journal-sqlite',
    batch_events: batchEvents,
    appends_under_way: appendsUnderWay,
    journal_events_per_s: journalPerS,
    bare_events_per_s: barePerS,
    ratio: Number((journalPerS / barePerS).toFixed(3)),
    append_ms: { p50: at(0.5), p99: at(0.99), max: at(0.9999) },
    main_us_per_event: Number(((cpu.mainUs - totals.makingMs * 1000) / totals.journalEvents).toFixed(2)),
    file_mib: Math.round(bytes / 1_048_576),
  }),
)
