/**
 * The checkpoints of agents in the file of one lease: one row per agent, also where it only says that the agent was
 * forgotten.
 *
 * The idea: the state is the last column, so that looking at ranks does not read its pages. Files of builds that knew no
 * agents have no such table; it is made with the first row, and builds that do not know it pass it over. How often rows
 * were removed is counted in the file's `application_id`, which serves nothing else here.
 *
 * Must not live here: what lies in other files.
 */
import type { Epoch } from '../../core/kernel/brand.js'
import { type AgentRecord, checksumOf, type Rank, requireIntact } from '../../engines/journal/checkpoint.js'
import type { Statement } from '../../engines/sqlite/connection.js'
import type { Attachments } from './attachments.js'

/** `@` is where the file is attached. Names are blobs: a NUL within TEXT would end it for some readers. */
export const checkpointSchema = `
  CREATE TABLE IF NOT EXISTS @.checkpoint (
    agent BLOB PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, forgotten_ms INTEGER NOT NULL,
    bytes INTEGER NOT NULL, crc INTEGER NOT NULL, state BLOB NOT NULL) STRICT;`

/** A record without its state. */
export interface RecordHead extends Rank {
  readonly agent: string
  readonly forgottenAtMs: number
  /** Of the state. */
  readonly bytes: number
}

interface RawHead {
  agent: Uint8Array
  epoch: Epoch
  seq: number
  forgotten_ms: number
  bytes: number
}

const headColumns = 'agent, epoch, seq, forgotten_ms, bytes'

export class CheckpointTable {
  readonly #path: string
  readonly #attachments: Attachments
  readonly #alias: string
  #isThere = false

  constructor(path: string, attachments: Attachments, alias: string) {
    this.#path = path
    this.#attachments = attachments
    this.#alias = alias
  }

  /** Within a transaction. What a row outranks already is passed over. */
  put(records: readonly AgentRecord[]): void {
    if (records.length === 0) return
    if (!this.#exists()) this.#attachments.exec(checkpointSchema.replaceAll('@', this.#alias))
    const put = this.#sql(
      `INSERT INTO @.checkpoint (agent, epoch, seq, forgotten_ms, bytes, crc, state) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (agent) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
         forgotten_ms = excluded.forgotten_ms, bytes = excluded.bytes, crc = excluded.crc, state = excluded.state
       WHERE (excluded.epoch, excluded.seq) > (epoch, seq)`,
    )
    for (const record of records) {
      const { agent, epoch, seq, forgottenAtMs, state } = record
      put.run(Buffer.from(agent), epoch, seq, forgottenAtMs, state.length, checksumOf(record), state)
    }
  }

  heads(agents: readonly string[]): RecordHead[] {
    if (!this.#exists()) return []
    const find = this.#sql(`SELECT ${headColumns} FROM @.checkpoint WHERE agent = ?`)
    return agents.flatMap((agent) => {
      const raw = find.get(Buffer.from(agent)) as RawHead | undefined
      return raw === undefined ? [] : [toHead(raw)]
    })
  }

  /** Those after a name, in the order of their bytes. */
  headsAfter(after: string, count: number): RecordHead[] {
    if (!this.#exists()) return []
    const rows = this.#sql(`SELECT ${headColumns} FROM @.checkpoint WHERE agent > ? ORDER BY agent LIMIT ?`)
    return (rows.all(Buffer.from(after), count) as RawHead[]).map(toHead)
  }

  /** Errors: `corrupt`. */
  record(agent: string): AgentRecord | undefined {
    if (!this.#exists()) return undefined
    const raw = this.#sql(`SELECT ${headColumns}, crc, state FROM @.checkpoint WHERE agent = ?`).get(
      Buffer.from(agent),
    ) as (RawHead & { crc: number; state: Uint8Array }) | undefined
    if (raw === undefined) return undefined
    const { epoch, seq, forgottenAtMs } = toHead(raw)
    return requireIntact({ agent, epoch, seq, forgottenAtMs, state: raw.state }, raw.crc, this.#path)
  }

  /** Within a transaction. Where a row has changed since its head was read, it stays. */
  remove(heads: readonly RecordHead[]): void {
    const remove = this.#sql('DELETE FROM @.checkpoint WHERE agent = ? AND epoch = ? AND seq = ?')
    for (const { agent, epoch, seq } of heads) remove.run(Buffer.from(agent), epoch, seq)
    // Within the 31 bits that the field has.
    const count = (this.removals() + 1) % 0x8000_0000
    this.#attachments.exec(`PRAGMA ${this.#alias}.application_id = ${count}`)
  }

  /** Changes with every `remove`, so that a reader of several files sees that a row may have slipped past it. */
  removals(): number {
    const row = this.#sql('PRAGMA @.application_id').get() as { application_id: number }
    return row.application_id
  }

  #exists(): boolean {
    this.#isThere ||=
      this.#sql(`SELECT 1 FROM @.sqlite_schema WHERE type = 'table' AND name = 'checkpoint'`).get() !==
      undefined
    return this.#isThere
  }

  #sql(text: string): Statement {
    return this.#attachments.statement(text.replaceAll('@', this.#alias))
  }
}

function toHead({ agent, epoch, seq, forgotten_ms: forgottenAtMs, bytes }: RawHead): RecordHead {
  return { agent: Buffer.from(agent).toString(), epoch, seq, forgottenAtMs, bytes }
}
