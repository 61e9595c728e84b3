import { randomUUID } from 'node:crypto'
import { describe, it } from 'vitest'
import { MemoryStoreState } from '../../src/drivers/store-memory/memory-state.js'
import { MemoryStore } from '../../src/drivers/store-memory/memory-store.js'
import { SqliteStore } from '../../src/drivers/store-sqlite/sqlite-store.js'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import type { Store } from '../../src/ports/store.js'
import { describeStoreContract, type StoreWorld } from '../../src/testing/store-contract.js'
import { makeDirectory, removeDirectory } from './directory.js'

function makeWorld(make: () => Store, after: () => void = () => undefined): StoreWorld {
  const handles: Store[] = []
  return {
    async handle() {
      const store = make()
      handles.push(store)
      await store.open()
      return store
    },
    async end() {
      for (const store of handles) await store.close()
      after()
    },
  }
}

describeStoreContract(
  'the memory store',
  async () => {
    const state = new MemoryStoreState({ nowMs: monotonicMs, identity: randomUUID() })
    return makeWorld(() => new MemoryStore(state))
  },
  { describe, it },
)

describeStoreContract(
  'the SQLite store',
  async () => {
    const directory = makeDirectory()
    return makeWorld(
      () => new SqliteStore({ path: `${directory}/store.db` }),
      () => removeDirectory(directory),
    )
  },
  { describe, it: (name, run) => it(name, run, 20_000) },
)
