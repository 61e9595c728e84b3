/**
 * How many saves of agents the SQLite journal makes durable, beside bare transactions of one row each, synced like ours,
 * in the same run. Both write in rounds of the same length, interleaved, so that the machine's moods meet both. Prints one
 * JSON line.
 *
 *     npx tsx bench/checkpoints.ts [bytes per state = 100] [seconds per side and row = 3] [directory]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { asEpoch, asLeaseId } from '../src/core/kernel/brand.js'
import { SqliteJournal } from '../src/drivers/journal-sqlite/sqlite-journal.js'
import { openDatabase } from '../src/engines/sqlite/connection.js'

const stateBytes = Number(process.argv[2] ?? 100)
const seconds = Number(process.argv[3] ?? 3)
const directory = mkdtempSync(join(process.argv[4] ?? tmpdir(), 'skein-bench-'))
const roundMs = 500
const lease = asLeaseId('bench')
const epoch = asEpoch(1)

const journal = new SqliteJournal({
  directory,
  workerUrl: new URL('../dist/drivers/journal-sqlite/worker.js', import.meta.url),
})
await journal.open()
await journal.openLease(lease)
const bare = openDatabase(join(directory, 'bare'))
bare.exec('CREATE TABLE state (agent BLOB PRIMARY KEY, seq INTEGER NOT NULL, state BLOB NOT NULL) STRICT')
const put = bare.prepare(
  'INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (agent) DO UPDATE SET seq = excluded.seq, state = excluded.state',
)
const state = new Uint8Array(stateBytes).fill(7)
let serial = 0

/** Each agent saves again as soon as its save is durable. */
async function journalRound(inFlight: number, latencies: number[]): Promise<{ saves: number; ms: number }> {
  const startMs = performance.now()
  let saves = 0
  const live = async (n: number) => {
    while (performance.now() - startMs < roundMs) {
      const sentMs = performance.now()
      await journal.saveCheckpoints(lease, [{ agent: `agent-${n}`, epoch, seq: serial++, state }])
      latencies.push(performance.now() - sentMs)
      saves++
    }
  }
  await Promise.all(Array.from({ length: inFlight }, (_, n) => live(n)))
  return { saves, ms: performance.now() - startMs }
}

function bareRound(agents: number): { saves: number; ms: number } {
  const startMs = performance.now()
  let saves = 0
  while (performance.now() - startMs < roundMs) {
    put.run(Buffer.from(`agent-${saves % agents}`), serial++, state)
    saves++
  }
  return { saves, ms: performance.now() - startMs }
}

const rows: unknown[] = []
for (const inFlight of [1, 64, 512]) {
  const latencies: number[] = []
  await journalRound(inFlight, [])
  const total = { ours: { saves: 0, ms: 0 }, bare: { saves: 0, ms: 0 } }
  for (let done = 0; done < seconds * 1000; done += roundMs) {
    for (const [side, round] of [
      ['ours', await journalRound(inFlight, latencies)],
      ['bare', bareRound(inFlight)],
    ] as const) {
      total[side].saves += round.saves
      total[side].ms += round.ms
    }
  }
  const perS = ({ saves, ms }: { saves: number; ms: number }) => Math.round((saves / ms) * 1000)
  latencies.sort((a, b) => a - b)
  const at = (q: number) => Number((latencies[Math.floor(latencies.length * q)] ?? 0).toFixed(2))
  rows.push({
    in_flight: inFlight,
    saves_per_s: perS(total.ours),
    bare_transactions_per_s: perS(total.bare),
    ratio: Number((perS(total.ours) / perS(total.bare)).toFixed(2)),
    save_ms: { p50: at(0.5), p99: at(0.99) },
  })
}
await journal.close()
bare.close()
rmSync(directory, { recursive: true, force: true })
console.log(JSON.stringify({ bench: 'checkpoints-sqlite', state_bytes: stateBytes, rows }))
