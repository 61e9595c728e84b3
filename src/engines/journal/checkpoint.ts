/**
 * Checkpoints of agents: what may be saved, which of two counts, and how they cross to another thread.
 *
 * The idea: that an agent was forgotten is a record like a checkpoint, with the highest sequence number there is. So one rule,
 * the highest (epoch, seq) counts, decides between saves of any order and age, and between saving and forgetting.
 *
 * Must not live here: files, SQL.
 */
import { crc32 } from 'node:zlib'
import type { Epoch } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { hash32 } from '../../core/kernel/hash.js'
import type { Checkpoint } from '../../ports/journal.js'
import { invalid, isWellFormed, journalLimits, requireCount } from './rules.js'

/** Above every checkpoint of its epoch, below all of the next. */
const forgottenSeq = Number.MAX_SAFE_INTEGER

export interface Rank {
  readonly epoch: Epoch
  readonly seq: number
}

/** What a journal keeps of an agent: a checkpoint, or that it was forgotten. */
export interface AgentRecord extends Checkpoint {
  /** Wall clock, ms since the epoch, of a record that it was forgotten; 0 for a checkpoint. */
  readonly forgottenAtMs: number
}

export function outranks(a: Rank, b: Rank): boolean {
  return a.epoch === b.epoch ? a.seq > b.seq : a.epoch > b.epoch
}

/** Errors: `invalid_argument`, `payload_too_large`. */
export function recordsToSave(checkpoints: readonly Checkpoint[]): AgentRecord[] {
  const { checkpointsMax, checkpointsBytesMax } = journalLimits
  if (checkpoints.length > checkpointsMax) {
    throw tooLarge(`${checkpoints.length} checkpoints in one call; at most ${checkpointsMax} are allowed`)
  }
  const records = checkpoints.map(recordToSave)
  const bytes = records.reduce((sum, { state }) => sum + state.length, 0)
  if (bytes > checkpointsBytesMax) {
    throw tooLarge(`${bytes} bytes of states in one call; at most ${checkpointsBytesMax} are allowed`)
  }
  return records
}

function recordToSave({ agent, epoch, seq, state }: Checkpoint): AgentRecord {
  requireAgent(agent)
  requireCount('epoch', epoch, 1)
  requireCount('seq', seq, 0)
  if (seq === forgottenSeq) throw invalid(`seq must be below ${forgottenSeq}`, { agent, seq })
  if (!(state instanceof Uint8Array)) throw invalid(`the state of agent ${agent} is no Uint8Array`, { agent })
  if (state.length > journalLimits.checkpointBytesMax) {
    throw tooLarge(
      `the state of agent ${agent} has ${state.length} bytes; at most ${journalLimits.checkpointBytesMax} are allowed`,
      { agent, bytes: state.length },
    )
  }
  return { agent, epoch, seq, state, forgottenAtMs: 0 }
}

/** Errors: `invalid_argument`. */
export function recordToForget(agent: string, throughEpoch: Epoch, nowMs: number): AgentRecord {
  requireAgent(agent)
  requireCount('throughEpoch', throughEpoch, 1)
  return {
    agent,
    epoch: throughEpoch,
    seq: forgottenSeq,
    state: new Uint8Array(0),
    forgottenAtMs: Math.max(1, Math.floor(nowMs)),
  }
}

/** Errors: `invalid_argument`. */
export function requireAgent(agent: string): void {
  const { agentCharsMax } = journalLimits
  if (typeof agent !== 'string' || agent.length === 0 || agent.length > agentCharsMax) {
    throw invalid(`the name of an agent has 1 to ${agentCharsMax} characters`, { agent: String(agent) })
  }
  if (!isWellFormed(agent)) throw invalid('the name of an agent with an unpaired surrogate', {})
}

/** Errors: `invalid_argument`. */
export function requirePage(after: string, limit: number): void {
  if (after !== '') requireAgent(after)
  requireCount('limit', limit, 1)
  if (limit > journalLimits.readEventsMax) {
    throw invalid(`limit ${limit} is above ${journalLimits.readEventsMax}`, { limit })
  }
}

/** Undefined for a record that the agent was forgotten. */
export function checkpointOf(record: AgentRecord | undefined): Checkpoint | undefined {
  if (record === undefined || record.forgottenAtMs > 0) return undefined
  const { agent, epoch, seq, state } = record
  return { agent, epoch, seq, state }
}

/** Is a note that the agent was forgotten so old that only what it still hides speaks for keeping it? */
export function mayLapse(record: { readonly forgottenAtMs: number }, nowMs: number): boolean {
  return record.forgottenAtMs > 0 && record.forgottenAtMs < nowMs - journalLimits.forgottenMsMin
}

/** One of each agent, the highest. */
export function newestPerAgent(records: Iterable<AgentRecord>): AgentRecord[] {
  const newest = new Map<string, AgentRecord>()
  for (const record of records) {
    const before = newest.get(record.agent)
    if (before === undefined || outranks(record, before)) newest.set(record.agent, record)
  }
  return [...newest.values()]
}

/** CRC-32 over the state and, by way of its start value, over whose it is and its rank. */
export function checksumOf({ agent, epoch, seq, state }: AgentRecord): number {
  let seed = hash32(agent, 2)
  for (const n of [epoch, seq]) {
    seed = (Math.imul(seed, 31) + (n % 0x1_0000_0000)) >>> 0
    seed = (Math.imul(seed, 31) + Math.floor(n / 0x1_0000_0000)) >>> 0
  }
  // Of no bytes zlib makes 0 or the start value, depending on where they are not.
  return state.length === 0 ? seed : crc32(state, seed)
}

/** Errors: `corrupt`, when the record is not what was written. `file` goes into the message. */
export function requireIntact(record: AgentRecord, checksum: number, file: string): AgentRecord {
  if (checksumOf(record) === checksum) return record
  const { agent, epoch, seq } = record
  throw new SkeinError(
    'corrupt',
    `${file}: the checkpoint of agent ${agent} does not match its checksum; restore the file from a backup`,
    { details: { file, agent, epoch, seq } },
  )
}

/** Records as they cross from thread to thread: numbers and bytes are transferred, not copied. */
export interface RecordBatch {
  readonly agents: readonly string[]
  /** {@link numbersPerRecord} per record. */
  readonly numbers: Float64Array<ArrayBuffer>
  readonly bytes: Uint8Array<ArrayBuffer>
}

const numbersPerRecord = 4

export function packRecords(records: readonly AgentRecord[]): RecordBatch {
  const numbers = new Float64Array(records.length * numbersPerRecord)
  const bytes = new Uint8Array(records.reduce((sum, { state }) => sum + state.length, 0))
  let at = 0
  for (const [i, { epoch, seq, state, forgottenAtMs }] of records.entries()) {
    numbers.set([epoch, seq, forgottenAtMs, state.length], i * numbersPerRecord)
    bytes.set(state, at)
    at += state.length
  }
  return { agents: records.map(({ agent }) => agent), numbers, bytes }
}

/** The records of a batch; their states are views into its bytes. */
export function recordsOf({ agents, numbers, bytes }: RecordBatch): AgentRecord[] {
  let at = 0
  return agents.map((agent, i) => {
    const [epoch, seq, forgottenAtMs, length] = numbers.subarray(
      i * numbersPerRecord,
      (i + 1) * numbersPerRecord,
    ) as unknown as [Epoch, number, number, number]
    const state = bytes.subarray(at, at + length)
    at += length
    return { agent, epoch, seq, state, forgottenAtMs }
  })
}

function tooLarge(message: string, details: Readonly<Record<string, unknown>> = {}): SkeinError {
  return new SkeinError('payload_too_large', message, { details })
}
