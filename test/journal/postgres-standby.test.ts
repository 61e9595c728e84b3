/** The journal on PostgreSQL with a synchronous standby: fail-over, an absent standby, an old primary that comes back. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { asEpoch, asLeaseId, type LeaseId } from '../../src/core/kernel/brand.js'
import { isSkeinError } from '../../src/core/kernel/error.js'
import { PostgresJournal } from '../../src/drivers/journal-postgres/postgres-journal.js'
import { readAll, sampleEvent, sampleGroup } from '../../src/testing/journal-contract.js'
import { isWithoutPostgres, PostgresServer } from './postgres-server.js'

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'ok'
  } catch (error) {
    return isSkeinError(error) ? error.code : String(error)
  }
}

const waiting = `SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'skein-writer%'`
const savesWaiting = `SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'skein'`

describe.skipIf(isWithoutPostgres('fail-over of the journal on PostgreSQL'))(
  'a journal with a standby',
  () => {
    let primary: PostgresServer
    let standby: PostgresServer
    const servers: PostgresServer[] = []
    const open: PostgresJournal[] = []

    beforeAll(async () => {
      primary = await PostgresServer.start()
      servers.push(primary)
      standby = await primary.standby('s1')
      servers.push(standby)
      await waitForStandby(primary, 's1')
    })
    afterAll(() => Promise.all(servers.map((server) => server.remove())))
    afterEach(async () => {
      for (const journal of open.splice(0)) await journal.close()
    })

    /** From now on commits wait for the standby of that name. */
    async function waitForStandby(server: PostgresServer, name: string): Promise<void> {
      server.configure({ settings: { synchronous_standby_names: `'${name}'` } })
      await server.reload()
      await vi.waitFor(
        async () => {
          const rows = await server.sql(
            `SELECT sync_state FROM pg_stat_replication WHERE application_name = '${name}'`,
          )
          expect(rows).toEqual([{ sync_state: 'sync' }])
        },
        { timeout: 10_000 },
      )
    }

    function urlOf(schema: string, parameters = ''): string {
      const addresses = [primary, standby].map((server) => server.address).join(',')
      return `postgres://skein@${addresses}/skein?schema=${schema}${parameters}`
    }

    async function journalAt(url: string, lease?: LeaseId): Promise<PostgresJournal> {
      const journal = new PostgresJournal({ url })
      open.push(journal)
      await journal.open()
      if (lease !== undefined) await journal.openLease(lease)
      return journal
    }

    it('acknowledges nothing while the standby is absent, and finds out when it is back', async () => {
      const lease = asLeaseId('lonely')
      const journal = await journalAt(urlOf('absent', '&statement-timeout-ms=900'), lease)
      await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('1')])])
      await standby.stop()
      const startMs = performance.now()
      expect(await codeOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('2')])]))).toBe(
        'outcome_unknown',
      )
      expect(await codeOf(journal.lastOffsets([0]))).toBe('unavailable')
      expect(await codeOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('2')])]))).toBe(
        'unavailable',
      )
      expect(performance.now() - startMs).toBeLessThan(15_000)
      await standby.resume()
      await expect.poll(() => codeOf(journal.lastOffsets([0])), { timeout: 10_000 }).toBe('ok')
      expect((await journal.lastOffsets([0])).get(0)).toBe(2)
      await journal.append(lease, [sampleGroup(0, 1, 3, [sampleEvent('3')])])
    })

    it('does not take a commit for replicated whose wait was cancelled', async () => {
      const lease = asLeaseId('cancelled')
      const journal = await journalAt(urlOf('cancelled'), lease)
      await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('1')])])
      standby.pause()
      const append = codeOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('2')])]))
      await expect.poll(() => primary.sql(waiting).then((rows) => rows.length), { timeout: 4_000 }).toBe(1)
      await primary.sql(`SELECT pg_cancel_backend(pid) FROM (${waiting}) w`)
      expect(await append).toBe('outcome_unknown')
      standby.unpause()
      expect((await journal.lastOffsets([0])).get(0)).toBe(2)
    })

    it('does not return a checkpoint that the standby does not have yet', async () => {
      const lease = asLeaseId('unreplicated')
      const journal = await journalAt(urlOf('unreplicated', '&statement-timeout-ms=900'), lease)
      const at = (seq: number) => ({ agent: 'a', epoch: asEpoch(1), seq, state: new Uint8Array([seq]) })
      await journal.saveCheckpoints(lease, [at(1)])
      standby.pause()
      const save = codeOf(journal.saveCheckpoints(lease, [at(2)]))
      await expect
        .poll(() => primary.sql(savesWaiting).then((rows) => rows.length), { timeout: 4_000 })
        .toBe(1)
      await primary.sql(`SELECT pg_cancel_backend(pid) FROM (${savesWaiting}) w`)
      expect(await save).toBe('outcome_unknown')
      expect((await journal.listCheckpoints('', 1)).checkpoints).toEqual([at(2)])
      expect(await codeOf(journal.readCheckpoint('a'))).toBe('unavailable')
      standby.unpause()
      await expect.poll(() => codeOf(journal.readCheckpoint('a')), { timeout: 5_000 }).toBe('ok')
      expect(await journal.readCheckpoint('a')).toEqual(at(2))
    })

    it('goes over to the promoted standby with all that was acknowledged, and never back to the old primary', async () => {
      const lease = asLeaseId('moving')
      const journal = await journalAt(urlOf('moving'), lease)
      const acknowledged: string[] = []
      for (let offset = 1; offset <= 50; offset++) {
        await journal.append(lease, [sampleGroup(0, 1, offset, [sampleEvent(`${offset}`)])])
        acknowledged.push(`${offset}`)
      }
      const { identity } = journal.info
      await primary.kill()
      await standby.promote()
      const second = await standby.standby('s2')
      servers.push(second)
      expect((await journal.health()).detail).toMatch(/synchronous_standby_names/)
      await waitForStandby(standby, 's2')
      const next = () => journal.append(lease, [sampleGroup(0, 1, 51, [sampleEvent('51')])])
      await expect.poll(() => codeOf(next()), { timeout: 10_000 }).toBe('ok')
      acknowledged.push('51')
      const segments = [{ epoch: asEpoch(1), lease, first: 1, last: 51 }]
      expect((await readAll(journal, { shard: 0, segments })).map((e) => e.id)).toEqual(acknowledged)

      // The old primary comes back as if nothing had happened; it even has a "standby" of the right name on its list.
      await primary.resume()
      await standby.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'skein'`)
      await expect
        .poll(async () => (await journal.health()).detail, { timeout: 5_000 })
        .toMatch(`primary ${standby.address}`)
      const stranger = await journalAt(urlOf('moving'))
      expect((await stranger.health()).detail).toMatch(`primary ${standby.address}`)
      expect(stranger.info.identity).toBe(identity)
      await standby.kill()
      await expect
        .poll(async () => (await journal.health()).detail, { timeout: 5_000 })
        .toMatch(/old primary that came back/)
      expect(await codeOf(journal.append(lease, [sampleGroup(0, 1, 52, [sampleEvent('52')])]))).toBe(
        'unavailable',
      )
      await standby.resume()
    })
  },
)
