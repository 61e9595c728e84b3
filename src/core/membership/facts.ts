/** What a node says of itself in gossip, as JSON in `MemberRecord.facts`. */
import type { MemberRecord } from './member.js'

export interface MemberFacts {
  readonly hostname?: string
  readonly max_agents?: number
  readonly services?: readonly string[]
  readonly labels?: Readonly<Record<string, string>>
  /** Reads sections after a ping or an ack (`codec.ts`). Builds that do not say so refuse messages that have any. */
  readonly sections?: number
}

/** What peers read of the text of all facts together, bytes. */
export const factsBytesMax = 512

const parsed = new WeakMap<MemberRecord, MemberFacts>()

/** A peer of another version may say it differently: its other facts still count. */
export function factsOf(record: MemberRecord): MemberFacts {
  let facts = parsed.get(record)
  if (facts === undefined) {
    facts = parse(record.facts)
    parsed.set(record, facts)
  }
  return facts
}

function parse(text: string): MemberFacts {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as MemberFacts) : {}
  } catch {
    return {}
  }
}

export function takesSections(record: MemberRecord): boolean {
  return (factsOf(record).sections ?? 0) >= 1
}
