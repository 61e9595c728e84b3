import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { PostgresJournal } from '../../src/drivers/journal-postgres/postgres-journal.js'
import { describeJournalContract } from '../../src/testing/journal-contract.js'
import { isWithoutPostgres, PostgresServer } from './postgres-server.js'

describe.skipIf(isWithoutPostgres('the journal contract on PostgreSQL'))('the journal on PostgreSQL', () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await PostgresServer.start()
  })
  afterAll(() => server?.remove())

  describeJournalContract('postgres', { describe, it }, async () => {
    const schema = `w_${randomUUID().replaceAll('-', '')}`
    return {
      sealFences: true,
      handle: (limits) => new PostgresJournal({ url: server.url(`schema=${schema}`), ...limits }),
      end: async () => {
        await server.sql(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
      },
    }
  })
})
