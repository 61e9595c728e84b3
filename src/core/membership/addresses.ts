/** Which addresses of a member are believed. Each claim makes every node send there, so a wrong one is refused where it comes in. */
import { hostTrouble, parseAddress } from '../kernel/address.js'
import type { MemberRecord } from './member.js'

const fields = ['controlAddress', 'controlStreamAddress', 'peerAddress', 'httpAddress'] as const

/**
 * Why the record is not believed, or undefined. A process keeps its addresses for life: a boot that is known under one address is not
 * followed to another.
 */
export function addressTrouble(
  record: MemberRecord,
  known: MemberRecord | undefined,
  allowSpecial: boolean,
): string | undefined {
  if (known?.bootId === record.bootId) {
    const moved = fields.find((field) => known[field] !== record[field])
    return moved === undefined
      ? undefined
      : `${moved} of boot ${record.bootId} is ${known[moved]}; a claim of ${record[moved]} is not followed`
  }
  for (const field of fields) {
    const address = parseAddress(record[field])
    const trouble = address === undefined ? undefined : hostTrouble(address.host, allowSpecial)
    if (trouble !== undefined) return `${field} ${record[field]}: ${trouble}`
  }
  return undefined
}
