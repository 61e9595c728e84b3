/** A journal whose requests are timed by kind; appends are not among them, since the data plane times its own. */
import type { Journal } from '../../ports/journal.js'
import type { JournalOperation } from './engine-metrics.js'
import type { OperationMeter } from './operation-meter.js'

const operations: Readonly<Partial<Record<keyof Journal, JournalOperation>>> = {
  read: 'read',
  recentIds: 'read',
  seal: 'seal',
  lastOffsets: 'seal',
  highestEpochs: 'seal',
  commitPositions: 'positions',
  readPositions: 'positions',
  listPositions: 'positions',
  saveCheckpoints: 'checkpoints',
  readCheckpoint: 'checkpoints',
  forgetCheckpoint: 'checkpoints',
  listCheckpoints: 'checkpoints',
  trim: 'keeping',
  leaseFiles: 'keeping',
  dropLease: 'keeping',
}

type AnyMethod = (...args: readonly unknown[]) => Promise<unknown>

export function timedJournal(journal: Journal, meter: OperationMeter<JournalOperation>): Journal {
  const methods = new Map<PropertyKey, unknown>()
  for (const [name, operation] of Object.entries(operations)) {
    const method = (journal as unknown as Record<string, AnyMethod>)[name] as AnyMethod
    methods.set(name, (...args: readonly unknown[]) =>
      meter.timed(operation, () => method.apply(journal, args as unknown[])),
    )
  }
  return new Proxy(journal, {
    get: (target, name) => {
      const known = methods.get(name)
      if (known !== undefined) return known
      const value = Reflect.get(target, name, target) as unknown
      if (typeof value !== 'function') return value
      // Once: appends come this way for every batch.
      const bound = value.bind(target) as unknown
      methods.set(name, bound)
      return bound
    },
  })
}
