/** Planted bugs in replicated maps; each must be seen by an oracle of `src/sim/maps.ts`. */
import type { MapFault } from '../../src/sim/maps.js'
import type { PlantedBug } from '../planted.js'

interface MapMutation extends PlantedBug {
  readonly faults: readonly MapFault[]
  /** How many are tried; 8 unless it takes a rare turn of events. */
  readonly seeds?: number
}

export const mapMutations: readonly MapMutation[] = [
  {
    name: 'of two values the one with the higher actor stays, whatever their time',
    file: 'src/core/maps/entry.ts',
    find: 'if (a.stamp !== b.stamp) return a.stamp < b.stamp ? 1 : -1',
    replace: '',
    faults: ['partition'],
  },
  {
    name: 'joining keeps what the other side has seen and no longer has',
    file: 'src/core/maps/entry.ts',
    find: '...a.values.filter((v) => isIn(b.values, v) || !seenB(v.actor, v.seq)),',
    replace: '...a.values,',
    faults: ['loss'],
  },
  {
    name: 'joining takes in what this side had seen go',
    file: 'src/core/maps/entry.ts',
    find: '...b.values.filter((v) => !isIn(a.values, v) && !seenA(v.actor, v.seq)),',
    replace: '...b.values.filter((v) => !isIn(a.values, v)),',
    faults: ['loss'],
  },
  {
    name: 'a value from before a delete that did not see it stays',
    file: 'src/core/maps/entry.ts',
    find: '    .filter(({ stamp }) => stamp > floor)\n',
    replace: '',
    faults: ['partition'],
  },
  {
    name: 'a counter takes the older cell of a process',
    file: 'src/core/maps/entry.ts',
    find: 'other.seq > cell.seq ? other : cell',
    replace: 'other.seq > cell.seq ? cell : other',
    faults: ['loss'],
  },
  {
    name: 'a counter goes on with what was deleted',
    file: 'src/core/maps/entry.ts',
    find: 'const ours = a.floor === floor ? a.counter : nothing\n  const theirs = b.floor === floor ? b.counter : nothing',
    replace: 'const ours = a.counter\n  const theirs = b.counter',
    faults: ['partition'],
  },
  {
    name: 'a set takes back an element that was removed',
    file: 'src/core/maps/entry.ts',
    find: '...its.filter((d) => !isIn(mine, d) && !seenA(d.actor, d.seq)),',
    replace: '...its.filter((d) => !isIn(mine, d)),',
    faults: ['loss'],
  },
  {
    name: 'a write forgets what it overwrote',
    file: 'src/core/maps/entry.ts',
    find: 'values: [{ ...dot, stamp, text }] }\n  return { ...next, past: pastOf(next, entry) }',
    replace: 'values: [{ ...dot, stamp, text }] }\n  return next',
    faults: ['loss', 'partition'],
  },
  {
    name: 'a gap in the writes of a node is passed over',
    file: 'src/core/maps/replica.ts',
    find: 'if (seq === (this.actors.get(actor) ?? 0) + 1) this.actors.set(actor, seq)',
    replace: 'this.actors.set(actor, seq)',
    faults: ['loss'],
  },
  {
    name: 'what was refused counts as seen',
    file: 'src/core/maps/pull.ts',
    find: 'if (pulled.refusals.length > 0) this.wasRefused = true',
    replace: '',
    faults: ['skew', 'loss'],
  },
  {
    name: 'a pull counts as complete after its first answer',
    file: 'src/core/maps/pull.ts',
    find: 'const isDone = this.batch === undefined && this.buckets.length === 0 && this.large.length === 0',
    replace: 'const isDone = true',
    faults: ['loss', 'partition'],
  },
  {
    name: 'a pull passes over large values',
    file: 'src/core/maps/pull.ts',
    find: 'this.large.push(...page.large)',
    replace: '',
    faults: ['loss'],
  },
  {
    name: 'a pull keeps what the others deleted and forgot',
    file: 'src/core/maps/pull.ts',
    find: 'if (slot !== undefined) this.sort(replica.absent(',
    replace: 'if (slot === undefined) this.sort(replica.absent(',
    faults: ['long_partition'],
    seeds: 60,
  },
  {
    name: 'a page ends the answer',
    file: 'src/core/maps/replica.ts',
    find: 'return { entries, large, absent, next: [index, slot.keyHash] }',
    replace: 'return { entries, large, absent, next: null }',
    faults: ['partition'],
  },
  {
    name: 'a node takes in again what it had seen and forgotten',
    file: 'src/core/maps/replica.ts',
    find: 'return upTo === undefined ? startOf(actor) <= retired : upTo >= seq',
    replace: 'return upTo === undefined ? startOf(actor) <= retired : upTo === seq',
    faults: ['long_partition', 'loss'],
  },
  {
    name: 'a delete is forgotten before everybody has seen it',
    file: 'src/core/maps/replica.ts',
    find: 'return everybody.every((seen) => seen !== undefined && this.covers(seen, entry))',
    replace: 'return everybody.length > 0',
    faults: ['partition'],
  },
  {
    name: 'a delete that a lost process left behind is never forgotten',
    file: 'src/core/maps/replica.ts',
    find: '        this.closeGaps(slot.entry, members)\n',
    replace: '        void ageMs\n',
    faults: ['restart', 'loss', 'partition'],
  },
  {
    name: 'a key forgets what was overwritten before everybody has seen it',
    file: 'src/core/maps/replica.ts',
    find: 'if (!everybody.every((seen) => seen !== undefined && knows(seen, actor, seq))) past.set(actor, seq)',
    replace: '',
    faults: ['loss', 'partition'],
  },
  {
    name: 'a stamp from far ahead is taken',
    file: 'src/core/maps/replica.ts',
    find: 'if (aheadMs > this.limits.skewMsMax)',
    replace: 'if (aheadMs > 1e9)',
    faults: ['skew'],
  },
  {
    name: 'bytes of what goes are not counted off',
    file: 'src/core/maps/slots.ts',
    find: 'this.bytes += sign * slot.bytes',
    replace: 'this.bytes += slot.bytes',
    faults: ['loss'],
  },
  {
    name: 'a bucket keeps the sum of what left it',
    file: 'src/core/maps/slots.ts',
    find: 'bucket.low = (bucket.low + sign * slot.low) >>> 0',
    replace: 'bucket.low = (bucket.low + slot.low) >>> 0',
    faults: ['loss'],
  },
  {
    name: 'the pieces of two versions are put together',
    file: 'src/core/maps/pull.ts',
    find: 'if (partial?.sum !== chunk.sum || partial.length !== chunk.length || chunk.offset === 0)',
    replace: 'if (partial === undefined)',
    faults: ['loss', 'partition'],
  },
]
