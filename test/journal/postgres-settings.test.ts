/** What the journal on PostgreSQL asks of its URL and of the server, and what it does with passwords. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { asLeaseId } from '../../src/core/kernel/brand.js'
import { isSkeinError, type SkeinError } from '../../src/core/kernel/error.js'
import { PostgresJournal } from '../../src/drivers/journal-postgres/postgres-journal.js'
import { parsePostgresUrl } from '../../src/drivers/journal-postgres/target.js'
import { sampleEvent, sampleGroup } from '../../src/testing/journal-contract.js'
import { isWithoutPostgres, PostgresServer } from './postgres-server.js'

const password = 'secret-word'

async function errorOf(promise: Promise<unknown>): Promise<SkeinError> {
  const error: unknown = await promise.then(
    () => 'it succeeded',
    (reason: unknown) => reason,
  )
  if (!isSkeinError(error)) throw new Error(`no SkeinError: ${String(error)}`)
  return error as SkeinError
}

describe('a postgres:// URL', () => {
  const refusal = (url: string) => {
    try {
      parsePostgresUrl(url, {})
    } catch (error) {
      return (error as SkeinError).message
    }
    return 'accepted'
  }

  it('names hosts, database, user and schema', () => {
    const target = parsePostgresUrl(
      `postgresql://me%40x:p%3Aw@h1,h2:6000,[::1]:7000/my%2Ddb?schema=other`,
      {},
    )
    expect(target.hosts).toEqual([
      { host: 'h1', port: 5432 },
      { host: 'h2', port: 6000 },
      { host: '::1', port: 7000 },
    ])
    expect([target.user, target.database, target.schema]).toEqual(['me@x', 'my-db', 'other'])
    expect(target.password('h1', 5432, 'my-db', 'me@x')).toBe('p:w')
    expect(target.label).not.toContain('p:w')
    expect(inspect(target, { depth: 9 })).not.toContain('p:w')
  })

  it('checks certificates unless told otherwise, except on loopback', () => {
    const tls = (url: string) => parsePostgresUrl(url, {}).tls
    expect(tls('postgres://u@127.0.0.1,localhost,[::1]/d')).toBeUndefined()
    expect(tls('postgres://u@127.0.0.1,db.example/d')).toMatchObject({ rejectUnauthorized: true })
    expect(tls('postgres://u@db.example/d')).not.toHaveProperty('checkServerIdentity')
    expect(tls('postgres://u@db.example/d?sslmode=verify-ca')).toHaveProperty('checkServerIdentity')
    expect(tls('postgres://u@db.example/d?sslmode=require')).toMatchObject({ rejectUnauthorized: false })
    expect(tls('postgres://u@db.example/d?sslmode=disable')).toBeUndefined()
  })

  it('is refused with its reason, and without its password', () => {
    const reasons: [string, RegExp][] = [
      ['postgres://', /not a host/],
      ['postgres://u@/d', /not a host/],
      ['postgres://u@h/', /names no database/],
      ['postgres://u@h', /names no database/],
      ['postgres://h/d', /names no user/],
      ['postgres://u@h:0/d', /not a host/],
      ['postgres://u@h:99999/d', /not a host/],
      ['postgres://u:hidden-word@h/d?sslmode=prefer', /sslmode "prefer"/],
      ['postgres://u:hidden-word@h/d?nonsense=1', /parameter "nonsense"; known are schema/],
      ['postgres://u:hidden-word@h/d?schema=A', /schema "A"/],
      ['postgres://u:hidden-word@h/d?pool=0', /pool "0"/],
      ['postgres://u:hidden-word@h/d?sslcert=/x', /sslcert and sslkey/],
      ['postgres://u:hidden-word@h/d?sslrootcert=/does/not/exist', /sslrootcert: ENOENT/],
      ['postgres://u:%zz@h/d', /%/],
      ['postgres:/u:hidden-word@h/d', /does not look like/],
    ]
    for (const [url, reason] of reasons) {
      expect(refusal(url)).toMatch(reason)
      expect(refusal(url)).not.toContain('hidden-word')
    }
  })

  it('finds the password in a file, the environment or a pgpass file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-password-'))
    try {
      const file = join(directory, 'password')
      writeFileSync(file, 'from-file\n')
      const ask = (url: string, env: Record<string, string>) =>
        parsePostgresUrl(url, env).password('h', 5432, 'd', 'u')
      expect(ask(`postgres://u@h/d?password-file=${file}`, { PGPASSWORD: 'no' })).toBe('from-file')
      expect(ask('postgres://u@h/d', { PGPASSWORD: 'env' })).toBe('env')
      const pgpass = join(directory, 'pgpass')
      writeFileSync(pgpass, '# x\nother:5432:d:u:no\nh:*:d:u:with\\:colon\\\\\n', { mode: 0o600 })
      expect(ask('postgres://u@h/d', { PGPASSFILE: pgpass })).toBe('with:colon\\')
      chmodSync(pgpass, 0o644)
      expect(() => ask('postgres://u@h/d', { PGPASSFILE: pgpass })).toThrow(/chmod 600/)
      expect(() => ask('postgres://u@h/d?password-file=/does/not/exist', {})).toThrow(/password-file: ENOENT/)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

describe.skipIf(isWithoutPostgres('settings of the journal on PostgreSQL'))('the server of a journal', () => {
  let server: PostgresServer
  const open: PostgresJournal[] = []
  beforeAll(async () => {
    server = await PostgresServer.start()
    const at = (name: string) => join(server.directory, name)
    execFileSync(
      'openssl',
      [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...['-keyout', at('server.key'), '-out', at('server.crt'), '-subj', '/CN=skein-test', '-addext'],
        ...['subjectAltName=IP:127.0.0.1'],
      ],
      { stdio: 'pipe' },
    )
    chmodSync(at('server.key'), 0o600)
    for (const name of ['server.key', 'server.crt']) server.own(at(name))
    server.configure({
      settings: { ssl: 'on', ssl_cert_file: `'${at('server.crt')}'`, ssl_key_file: `'${at('server.key')}'` },
      access: [
        'local all all trust',
        'host all postgres 127.0.0.1/32 trust',
        'host skein skein 127.0.0.1/32 scram-sha-256',
        'hostssl skein only_tls 127.0.0.1/32 scram-sha-256',
      ],
    })
    await server.sql(`CREATE ROLE only_tls LOGIN PASSWORD '${password}'; GRANT skein TO only_tls`)
    await server.stop()
    await server.resume()
  })
  afterAll(() => server?.remove())
  afterEach(async () => {
    for (const journal of open.splice(0)) await journal.close()
  })

  function journalAt(parameters: string, credentials = `skein:${password}`): PostgresJournal {
    const url = server.url(parameters).replace('//skein@', `//${credentials}@`)
    const journal = new PostgresJournal({ url })
    open.push(journal)
    return journal
  }

  it('asks for the password, and no error or health line ever tells it', async () => {
    await journalAt('schema=pw').open()
    const wrong = await errorOf(journalAt('schema=pw', 'skein:wrong-word').open())
    expect(wrong.code).toBe('unauthenticated')
    const missing = await errorOf(journalAt('schema=pw', 'skein').open())
    expect(missing.code).toBe('unauthenticated')
    const nowhere = new PostgresJournal({ url: `postgres://skein:${password}@127.0.0.1:1/skein` })
    const unreachable = await errorOf(nowhere.open())
    expect(unreachable.code).toBe('unavailable')
    for (const error of [wrong, missing, unreachable]) {
      expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/wrong-word|secret-word/)
    }
    const journal = journalAt('schema=pw')
    await journal.open()
    expect((await journal.health()).detail).not.toContain(password)
  })

  it('is talked to over TLS, with its certificate checked', async () => {
    const ca = join(server.directory, 'server.crt')
    expect(readFileSync(ca, 'utf8')).toContain('CERTIFICATE')
    const user = `only_tls:${password}`
    await server.sql('CREATE SCHEMA IF NOT EXISTS tls AUTHORIZATION only_tls')
    await journalAt(`schema=tls&sslmode=verify-full&sslrootcert=${ca}`, user).open()
    await journalAt('schema=tls&sslmode=require', user).open()
    const unknown = await errorOf(journalAt('schema=tls&sslmode=verify-full', user).open())
    expect(unknown.code).toBe('unauthenticated')
    const clear = await errorOf(journalAt('schema=tls&sslmode=disable', user).open())
    expect(clear.code).toBe('unauthenticated')
  })

  it('is refused where it would not keep what was acknowledged, at once and later', async () => {
    const refusals: [setting: string, value: string, normal: string][] = [
      ['synchronous_commit', 'off', 'on'],
      ['synchronous_commit', 'local', 'on'],
      ['synchronous_commit', 'remote_write', 'on'],
      ['fsync', 'off', 'on'],
      ['full_page_writes', 'off', 'on'],
    ]
    const lease = asLeaseId('settings')
    const journal = journalAt('schema=settings&pool=1')
    await journal.open()
    await journal.openLease(lease)
    for (const [setting, value, normal] of refusals) {
      server.configure({ settings: { [setting]: value } })
      await server.reload()
      await expect
        .poll(async () => (await server.sql(`SHOW ${setting}`))[0]?.[setting], { timeout: 3_000 })
        .toBe(value)
      const error = await errorOf(journalAt('schema=settings').open())
      expect([error.code, error.message]).toEqual([
        'bad_config',
        expect.stringContaining(`${setting} = '${value}'`),
      ])
      // A connection that has its own value pinned goes on; what holds for the whole server is noticed.
      if (setting !== 'synchronous_commit') {
        await expect.poll(async () => (await journal.health()).detail, { timeout: 3_000 }).toContain(setting)
      }
      server.configure({ settings: { [setting]: normal } })
      await server.reload()
      await expect.poll(async () => (await journal.health()).ok, { timeout: 3_000 }).toBe(true)
    }
    await expect.poll(async () => (await journal.health()).ok, { timeout: 3_000 }).toBe(true)
    await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('a')])])
    const url = server.url('schema=settings').replace('//skein@', `//skein:${password}@`)
    const several = new PostgresJournal({ url: url.replace(server.address, `${server.address},127.0.0.1:1`) })
    expect((await errorOf(several.open())).message).toContain('synchronous_standby_names')
  })

  it('makes its tables once, whoever comes first, and no longer knows tables of a newer version', async () => {
    const journals = Array.from({ length: 6 }, () => journalAt('schema=crowd'))
    await Promise.all(journals.map((journal) => journal.open()))
    expect(new Set(journals.map((journal) => journal.info.identity)).size).toBe(1)
    await server.sql('UPDATE crowd.meta SET version = 99')
    expect((await errorOf(journalAt('schema=crowd').open())).code).toBe('incompatible')
    await server.sql('REVOKE CREATE ON DATABASE skein FROM skein; ALTER DATABASE skein OWNER TO postgres')
    const forbidden = await errorOf(journalAt('schema=forbidden').open())
    expect([forbidden.code, forbidden.message]).toEqual([
      'bad_config',
      expect.stringContaining('CREATE SCHEMA'),
    ])
    await server.sql('CREATE SCHEMA allowed AUTHORIZATION skein')
    await journalAt('schema=allowed').open()
  })

  it('says disk_full when its disk is full, and goes on when there is room', async ({ skip }) => {
    const small = mkdtempSync(join(server.directory, 'small-'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0777', 'tmpfs', small], { stdio: 'pipe' })
    } catch {
      skip('mounting a small file system is not allowed here')
    }
    try {
      const inside = join(small, 'space')
      execFileSync('mkdir', ['-m', '700', inside])
      server.own(inside)
      const journal = journalAt('schema=allowed')
      await journal.open()
      const lease = asLeaseId('full')
      await journal.openLease(lease)
      await server.sql(`CREATE TABLESPACE small LOCATION '${inside}'`)
      await server.sql('ALTER TABLE allowed.block SET TABLESPACE small')
      let next = 1
      const append = async () => {
        const events = Array.from({ length: 20 }, (_, i) =>
          sampleEvent(`${next + i}`, { payload: JSON.stringify('y'.repeat(10_000)) }),
        )
        await journal.append(lease, [sampleGroup(0, 1, next, events)])
        next += events.length
      }
      const fill = async () => {
        for (let n = 0; n < 100; n++) await append()
      }
      expect((await errorOf(fill())).code).toBe('disk_full')
      expect(next).toBeGreaterThan(1)
      expect((await journal.lastOffsets([0])).get(0)).toBe(next - 1)
      await server.sql('ALTER TABLE allowed.block SET TABLESPACE pg_default')
      await append()
      await server.sql('DROP TABLESPACE small')
    } finally {
      execFileSync('umount', ['-l', small])
    }
  })
})
