/**
 * What every journal driver must do, as a suite to run over it. Import it in a test file of your driver:
 *
 *     describeJournalContract('mine', { describe, it }, async () => makeWorld())
 *
 * The idea: a world is one shared journal (a directory, a database); its handles are the processes of a cluster. Each
 * test makes a world of its own. Timings are not part of the contract, except that nothing waits for another writer.
 *
 * Must not live here: a test runner, anything of one driver.
 */
import type { LeaseId } from '../core/kernel/brand.js'
import type { Journal } from '../ports/journal.js'
import { describeCheckpoints } from './journal-contract-checkpoints.js'
import type { JournalWorld, Test } from './journal-contract-kit.js'
import { describeHousekeeping, describeReading } from './journal-contract-reading.js'
import { describeFencing, describeWriting } from './journal-contract-writing.js'
import type { TestRunner } from './store-contract.js'

export { type JournalWorld, readAll, sampleEvent, sampleGroup } from './journal-contract-kit.js'

/** Registers the suite with the test runner given. `makeWorld` is called once per test. */
export function describeJournalContract(
  name: string,
  runner: TestRunner,
  makeWorld: () => Promise<JournalWorld>,
): void {
  const test: Test = (title, body) => {
    runner.it(title, async () => {
      const world = await makeWorld()
      const handles: Journal[] = []
      const open = async (lease?: LeaseId) => {
        const journal = world.handle()
        handles.push(journal)
        await journal.open()
        if (lease !== undefined) await journal.openLease(lease)
        return journal
      }
      try {
        await body(open, world)
      } finally {
        for (const handle of handles) await handle.close()
        await world.end()
      }
    })
  }

  runner.describe(`${name}: writing`, () => describeWriting(test))
  runner.describe(`${name}: sealing and fencing`, () => describeFencing(test))
  runner.describe(`${name}: reading`, () => describeReading(test))
  runner.describe(`${name}: checkpoints`, () => describeCheckpoints(test))
  runner.describe(`${name}: keeping house`, () => describeHousekeeping(test))
}
