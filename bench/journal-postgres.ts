/**
 * How fast the PostgreSQL journal makes events durable, beside bare multi-row inserts of the same events by the same
 * client into the same server in the same run: of the same rows (blocks) without a fence, and of one row per event. All
 * write in interleaved rounds, one statement under way at a time, as the data plane does. Prints one JSON line.
 *
 *     npx tsx bench/journal-postgres.ts [events per append = 1000] [seconds per side = 5] [postgres://…]
 *
 * Without a URL it starts a PostgreSQL of its own, fsync on.
 */
import { performance } from 'node:perf_hooks'
import { asEpoch, asLeaseId } from '../src/core/kernel/brand.js'
import { byteaArray, int8Array } from '../src/drivers/journal-postgres/arrays.js'
import { PostgresJournal } from '../src/drivers/journal-postgres/postgres-journal.js'
import { tablesIn } from '../src/drivers/journal-postgres/schema.js'
import { Session } from '../src/drivers/journal-postgres/session.js'
import { parsePostgresUrl } from '../src/drivers/journal-postgres/target.js'
import { type Block, BlockEncoder, blocksOf, checksum } from '../src/engines/journal/block.js'
import type { AppendGroup, JournalEvent } from '../src/ports/journal.js'
import { isWithoutPostgres, PostgresServer } from '../test/journal/postgres-server.js'

const batchEvents = Number(process.argv[2] ?? 1000)
const seconds = Number(process.argv[3] ?? 5)
const givenUrl = process.argv[4]
if (givenUrl === undefined && isWithoutPostgres('bench journal-postgres')) process.exit(0)

const shards = 256
const roundMs = 500
const lease = asLeaseId('bench')
let serial = 0

function makeEvent(): JournalEvent {
  const n = serial++
  return {
    stream: 'traces',
    key: `trace-${n % 977}`,
    id: `${n}-0f3c9a`,
    type: 'span',
    payload: JSON.stringify({ trace: `trace-${n % 977}`, span: n, text: 'x'.repeat(200) }),
    hlc: `01hlc${n}`,
    atMs: Date.now(),
  }
}

function makeBatch(nextOffset: number[]): AppendGroup[] {
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

interface Side {
  readonly nextOffset: number[]
  readonly write: (batch: AppendGroup[]) => Promise<void>
  readonly latencies: number[]
  events: number
  ms: number
  makingMs: number
  busyMs: number
}

function side(write: Side['write']): Side {
  return {
    nextOffset: new Array<number>(shards).fill(1),
    write,
    latencies: [],
    events: 0,
    ms: 0,
    makingMs: 0,
    busyMs: 0,
  }
}

async function round(one: Side): Promise<void> {
  const before = performance.eventLoopUtilization()
  const startMs = performance.now()
  while (performance.now() - startMs < roundMs) {
    const makingMs = performance.now()
    const batch = makeBatch(one.nextOffset)
    const sentMs = performance.now()
    await one.write(batch)
    one.makingMs += sentMs - makingMs
    one.latencies.push(performance.now() - sentMs)
    one.events += batchEvents
  }
  const elapsedMs = performance.now() - startMs
  one.ms += elapsedMs
  one.busyMs += performance.eventLoopUtilization(before).utilization * elapsedMs
}

const server = givenUrl === undefined ? await PostgresServer.start() : undefined
const url = givenUrl ?? (server as PostgresServer).url('schema=bench')
const journal = new PostgresJournal({ url })
await journal.open()
await journal.openLease(lease)
const target = parsePostgresUrl(url)
const session = await Session.open({
  target,
  host: target.hosts[0] as (typeof target.hosts)[0],
  applicationName: 'bench',
})
const block = tablesIn(target.schema).block
const bareTable = `"${target.schema}".bare_block`
const eventTable = `"${target.schema}".bare_event`
await session.run('write', {
  text: `DROP TABLE IF EXISTS ${bareTable}, ${eventTable};
    CREATE TABLE ${bareTable} (LIKE ${block} INCLUDING ALL);
    CREATE TABLE ${eventTable} (shard int8, epoch int8, at_offset int8, stream text, key text, id text, type text,
      payload text, hlc text, at_ms int8, PRIMARY KEY (shard, epoch, at_offset))`,
})

async function insertBlocks(batch: AppendGroup[]): Promise<void> {
  const encoder = new BlockEncoder()
  for (const group of batch) encoder.add(group)
  const blocks: Block[] = [...blocksOf(encoder.take())]
  await session.run(
    'write',
    {
      name: 'bare_block',
      text: `INSERT INTO ${bareTable} (shard, epoch, last_offset, first_offset, at_ms, crc, bytes, stream, hashes, body)
        SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
          $8::bytea[], $9::bytea[], $10::bytea[])`,
    },
    [
      int8Array(blocks.map((b) => b.shard)),
      int8Array(blocks.map((b) => b.epoch)),
      int8Array(blocks.map((b) => b.last)),
      int8Array(blocks.map((b) => b.first)),
      int8Array(blocks.map((b) => b.atMs)),
      int8Array(blocks.map(checksum)),
      int8Array(blocks.map((b) => b.body.length)),
      byteaArray(blocks.map((b) => Buffer.from(b.stream))),
      byteaArray(blocks.map((b) => b.hashes)),
      byteaArray(blocks.map((b) => b.body)),
    ],
  )
}

async function insertEvents(batch: AppendGroup[]): Promise<void> {
  const rows = batch.flatMap(({ shard, epoch, firstOffset, events }) =>
    events.map((event, i) => ({ ...event, shard, epoch, offset: firstOffset + i })),
  )
  const column = (pick: (row: (typeof rows)[0]) => string | number) => rows.map(pick)
  await session.run(
    'write',
    {
      name: 'bare_event',
      text: `INSERT INTO ${eventTable} SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::text[], $5::text[],
        $6::text[], $7::text[], $8::text[], $9::text[], $10::int8[])`,
    },
    [
      column((r) => r.shard),
      column((r) => r.epoch),
      column((r) => r.offset),
      column((r) => r.stream),
      column((r) => r.key),
      column((r) => r.id),
      column((r) => r.type),
      column((r) => r.payload),
      column((r) => r.hlc),
      column((r) => r.atMs),
    ],
  )
}

const ours = side((batch) => journal.append(lease, batch))
const bareBlocks = side(insertBlocks)
const bareEvents = side(insertEvents)
const sides = [ours, bareBlocks, bareEvents]
for (const one of sides) await round(one)
for (const one of sides) {
  Object.assign(one, { events: 0, ms: 0, makingMs: 0, busyMs: 0 })
  one.latencies.length = 0
}
for (let done = 0; done < seconds * 1000; done += roundMs) for (const one of sides) await round(one)
const { bytes } = await journal.health()
await journal.close()
await session.run('write', { text: `DROP TABLE ${bareTable}, ${eventTable}` })
await session.close()
await server?.remove()

ours.latencies.sort((a, b) => a - b)
const at = (q: number) => Number((ours.latencies[Math.floor(ours.latencies.length * q)] ?? 0).toFixed(2))
const perSecond = (one: Side) => Math.round((one.events / one.ms) * 1000)
const ratio = (a: Side, b: Side) => Number((perSecond(a) / perSecond(b)).toFixed(3))
console.log(
  JSON.stringify({
    bench: 'journal-postgres',
    batch_events: batchEvents,
    journal_events_per_s: perSecond(ours),
    bare_same_rows_events_per_s: perSecond(bareBlocks),
    bare_row_per_event_events_per_s: perSecond(bareEvents),
    ratio: ratio(ours, bareBlocks),
    ratio_to_row_per_event: ratio(ours, bareEvents),
    append_ms: { p50: at(0.5), p99: at(0.99), max: at(0.9999) },
    main_us_per_event: Number((((ours.busyMs - ours.makingMs) * 1000) / ours.events).toFixed(2)),
    table_mib: Math.round(bytes / 1_048_576),
  }),
)
