/**
 * The marks that a carry leaves in both stores, and what they forbid: no node takes part in a cluster whose state is on its way in, nor in one
 * whose state went elsewhere, for then two clusters would go on from one past.
 */
import { SkeinError } from '../../core/kernel/error.js'
import { jsonDecode } from '../../core/kernel/text.js'

/** Present from a carry's first write on; in the target until its last. */
export const carryKey = 'cluster/carry'
/** Where the state of this cluster came from. Only for the record, and for a carry that is run again after it was done. */
export const originKey = 'cluster/origin'

export interface CarryMark {
  readonly role: 'source' | 'target'
  readonly id: string
  /** The other end: its store and journal, without passwords. */
  readonly store: string
  readonly journal: string
  /** RFC 3339. */
  readonly at: string
  /** Of the source: everything is over there. */
  readonly is_complete: boolean
  /** Of the target: what the source was when the carry began. */
  readonly source_digest: string
}

/** Undefined where there is none. Errors: `corrupt`. */
export function readMark(value: Uint8Array | undefined): CarryMark | undefined {
  if (value === undefined) return undefined
  const mark = jsonDecode(value) as Partial<CarryMark> | null
  if (typeof mark?.id === 'string' && (mark.role === 'source' || mark.role === 'target'))
    return mark as CarryMark
  throw new SkeinError('corrupt', `the store's ${carryKey} is not the mark of a carry`)
}

/** Why no node may take part while the mark is there. */
export function markTrouble(clusterName: string, mark: CarryMark): SkeinError {
  const { role, store, journal, at, is_complete: isComplete } = mark
  const where = `--store ${store} --journal ${journal}`
  const detail =
    role === 'target'
      ? `the state of cluster "${clusterName}" is being carried into this store from ${store} and ${journal} since ${at} and is not complete: run the same \`skein carry\` again, it goes on where it stopped`
      : isComplete
        ? `the state of cluster "${clusterName}" was carried from here on ${at}: start nodes with ${where}. To go on with this copy instead, without what happened there since: skein carry --reopen`
        : `the state of cluster "${clusterName}" is being carried from here to ${store} and ${journal} since ${at}: run the same \`skein carry\` again to finish it, or give it up with skein carry --reopen`
  return new SkeinError('conflict', detail, { details: { carry: mark.id } })
}

/** For messages and marks: a URL without what must not be shown. */
export function withoutPassword(url: string): string {
  return url.replace(/(\/\/[^@/:]*):[^@]*@/, '$1@')
}
