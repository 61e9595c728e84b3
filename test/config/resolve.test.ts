/** The configuration: what wins over what, what is refused, and that all mistakes come at once. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { type Option, options, variableOf } from '../../src/config/options.js'
import { settingRows } from '../../src/config/print.js'
import { resolveConfig, type Sources, toNodeConfig } from '../../src/config/resolve.js'
import { isSkeinError } from '../../src/core/kernel/error.js'
import { withDefaults } from '../../src/runtime/create-node.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-config-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let files = 0
function file(content: unknown): string {
  const path = join(dir, `${++files}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

function mistakesOf(sources: Sources): readonly string[] {
  try {
    resolveConfig(sources)
    return []
  } catch (error) {
    if (!isSkeinError(error) || error.code !== 'bad_config') throw error
    return error.details.mistakes as readonly string[]
  }
}

function sourceOf(sources: Sources, key: string): string | undefined {
  return resolveConfig(sources).find((s) => s.option.key === key)?.source
}

describe('what a node is told', () => {
  test('without anything it is what createNode assumes', () => {
    expect(toNodeConfig(resolveConfig({}))).toEqual(withDefaults({}))
  })

  test('directories follow from the peer port and from the data directory', () => {
    expect(toNodeConfig(resolveConfig({ flags: { peerPort: '7001' } }))).toMatchObject({
      dataDir: resolve('.skein/node-7001'),
      store: `sqlite:${resolve('.skein/store.db')}`,
      journal: `sqlite:${resolve('.skein/journal')}`,
    })
    expect(toNodeConfig(resolveConfig({ flags: { dataDir: '/a/b' } })).store).toBe('sqlite:/a/store.db')
  })

  test('a flag wins over SKEIN_, that over an older variable, that over the file, that over the default', () => {
    const configFile = file({ port: 5 })
    const env = { SKEIN_PORT: '2', MESHER_HTTP_PORT: '3', MESHER_WS_PORT: '4' }
    const port = (sources: Sources): number => toNodeConfig(resolveConfig(sources)).port
    expect(port({ flags: { port: '1' }, env, configFile })).toBe(1)
    expect(port({ env, configFile })).toBe(2)
    expect(port({ env: { ...env, SKEIN_PORT: '' }, configFile })).toBe(3)
    expect(port({ env: { MESHER_WS_PORT: '4' }, configFile })).toBe(4)
    expect(port({ configFile })).toBe(5)
    expect(port({ env: { SKEIN_CONFIG: configFile } })).toBe(5)
    expect(port({})).toBe(8151)
    expect(sourceOf({ env, configFile }, 'port')).toBe('environment SKEIN_PORT')
    expect(sourceOf({ configFile }, 'port')).toBe(`file ${configFile}`)
  })

  test('the older systems’ variables are understood', () => {
    const env = {
      MESHER_NODE_NAME: 'mesh-1',
      MESHER_COOKIE: 'older-secret',
      MESHER_PEERS: 'mesh-2@10.0.0.2:6745,mesh-3@10.0.0.3:6745',
      ORIONIS_HTTP_ADDR: '127.0.0.1:7700',
      ORIONIS_DATA_DIR: '/var/orionis',
      COMMY_LISTEN_PORT: '9001',
    }
    expect(toNodeConfig(resolveConfig({ env }))).toMatchObject({
      nodeId: 'mesh-1',
      cookie: 'older-secret',
      peers: ['10.0.0.2:6745', '10.0.0.3:6745'],
      host: '127.0.0.1',
      port: 7_700,
      dataDir: '/var/orionis',
      peerPort: 9_001,
    })
    const commy = { COMMY_SERVER_ID: 'server-1', COMMY_CLUSTER_NODES: 'server-2:10.0.0.2:9000' }
    expect(toNodeConfig(resolveConfig({ env: commy }))).toMatchObject({
      nodeId: 'server-1',
      peers: ['10.0.0.2:9000'],
    })
    expect(mistakesOf({ env: { ORIONIS_HTTP_ADDR: 'nonsense' } })).toHaveLength(2)
  })

  test('every option can be set by its variable and by the file, in either spelling', () => {
    for (const option of options) {
      const text = example(option)
      const base = { SKEIN_COOKIE: option.key === 'cookieFile' ? '' : 'long enough' }
      const env = { ...base, ...together(option), [variableOf(option.flag)]: text }
      expect(sourceOf({ env }, option.key)).toBe(`environment ${variableOf(option.flag)}`)
      for (const key of [option.key, option.flag, ...(option.aliases ?? [])]) {
        const configFile = file({ [key]: text })
        expect(sourceOf({ env: together(option), configFile }, option.key)).toBe(`file ${configFile}`)
      }
    }
  })
})

/** Variables of the options that this one cannot be without. */
function together({ key }: Option): Record<string, string> {
  const groups = [
    ['tlsCa', 'tlsCert', 'tlsKey'],
    ['httpsCert', 'httpsKey'],
  ]
  const others = groups.find((group) => group.includes(key))?.filter((other) => other !== key) ?? []
  const flags = options.filter((option) => others.includes(option.key)).map(({ flag }) => flag)
  return Object.fromEntries(flags.map((flag) => [variableOf(flag), 'file']))
}

describe('what is refused', () => {
  test('all mistakes are reported at once, with path, value, range and source', () => {
    const configFile = file({ logLevel: 'loud', colour: 'blue', labels: { a: 1 } })
    const mistakes = mistakesOf({
      flags: { port: '99999', peers: ['here', 'a:b:c:1'] },
      env: { SKEIN_SHARDS: 'many', COMMY_SERVER_ID: 'no spaces please' },
      configFile,
    })
    expect(mistakes).toHaveLength(7)
    expect(mistakes.find((m) => m.startsWith('port'))).toBe(
      'port (flag --port): a whole number from 0 to 65535 expected, got "99999"',
    )
    expect(mistakes.find((m) => m.startsWith('shards'))).toMatch(/SKEIN_SHARDS.*1 to 4096.*"many"/)
    expect(mistakes.find((m) => m.startsWith('nodeId'))).toMatch(/COMMY_SERVER_ID.*1 to 64/)
    expect(mistakes.find((m) => m.startsWith('logLevel'))).toMatch(/debug, info.*"loud"/)
    expect(mistakes.find((m) => m.includes('colour'))).toMatch(/unknown key "colour"/)
    expect(mistakes.find((m) => m.startsWith('peers'))).toMatch(/"here".*"a:b:c:1"/)
  })

  test('a file that is missing, malformed or no object', () => {
    expect(mistakesOf({ configFile: join(dir, 'absent.json') })[0]).toMatch(/ENOENT/)
    expect(mistakesOf({ configFile: file('{"port": ') })[0]).toMatch(/JSON/)
    expect(mistakesOf({ configFile: file([1]) })[0]).toMatch(/object/)
    expect(mistakesOf({ configFile: file('{"__proto__": {"port": 1}}') })[0]).toMatch(/unknown key/)
    expect(mistakesOf({ configFile: file({ peer: 'a:1', peers: 'b:1' }) })[0]).toMatch(/twice/)
  })

  test('a peer port for other machines without a cookie, an HTTP port for other machines at all', () => {
    expect(mistakesOf({ flags: { peerHost: '0.0.0.0' } })[0]).toMatch(/--cookie/)
    expect(mistakesOf({ flags: { peerHost: '0.0.0.0', cookie: 'long enough' } })).toEqual([])
    expect(mistakesOf({ flags: { peerHost: '0.0.0.0', cookieFile: 'x' } })).toEqual([])
    expect(mistakesOf({ flags: { host: '::' } })[0]).toMatch(/token-file.*--insecure/)
    expect(mistakesOf({ flags: { host: '127.evil.example' } })[0]).toMatch(/--insecure/)
    expect(mistakesOf({ flags: { host: '0.0.0.0', insecure: true } })).toEqual([])
    for (const host of ['localhost', '127.0.0.2', '::1']) expect(mistakesOf({ flags: { host } })).toEqual([])
  })

  test('half of a certificate, and certificates where a cookie is needed', () => {
    const tls = { tlsCa: 'a', tlsCert: 'c', tlsKey: 'k' }
    expect(mistakesOf({ flags: { tlsCert: 'c' } })[0]).toMatch(/go together/)
    expect(mistakesOf({ flags: { httpsKey: 'k' } })[0]).toMatch(/go together/)
    expect(mistakesOf({ flags: { ...tls, peerHost: '0.0.0.0' } })).toEqual([])
    expect(mistakesOf({ flags: { ...tls, store: 'etcd+managed:' } })[0]).toMatch(/from a cookie/)
    expect(mistakesOf({ flags: { ...tls, store: 'etcd+managed:', cookieFile: 'f' } })).toEqual([])
    expect(mistakesOf({ flags: { host: '0.0.0.0', tokenFile: 'f' } })).toEqual([])
  })

  test('a cookie and a cookie file of equal standing; otherwise the stronger counts', () => {
    expect(mistakesOf({ flags: { cookie: 'long enough', cookieFile: 'f' } })[0]).toMatch(/one of them/)
    const config = toNodeConfig(
      resolveConfig({ flags: { cookieFile: 'f' }, env: { MESHER_COOKIE: 'long enough' } }),
    )
    expect(config.cookieFile).toBe('f')
    expect(config.cookie).toBeUndefined()
  })

  test('the cookie is never shown, not even a wrong one', () => {
    const rows = JSON.stringify(settingRows(resolveConfig({ flags: { cookie: 'very-secret' } })))
    expect(rows).toContain('(hidden)')
    expect(rows).not.toContain('very-secret')
    expect(mistakesOf({ flags: { cookie: 'psst' } })[0]).not.toContain('psst')
  })

  test('whatever is given, the answer is a configuration in range or bad_config', () => {
    const value = fc.oneof(fc.string(), fc.integer().map(String), fc.constantFrom('true', '', 'a=b', 'h:1'))
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...options.map((o) => o.key)), value), (flags) => {
        const sources = { flags }
        if (mistakesOf(sources).length > 0) return
        const config = toNodeConfig(resolveConfig(sources)) as unknown as Record<string, unknown>
        for (const option of options) {
          const settled = config[option.key]
          if (option.kind === 'integer') {
            expect(settled).toSatisfy((n: number) => n >= option.min && n <= option.max)
          }
          if (option.kind === 'choice') expect(option.choices).toContain(settled)
        }
      }),
    )
  })
})

/** Some valid value. */
function example(option: Option): string {
  if (option.key === 'host' || option.key === 'peerHost') return '127.0.0.1'
  switch (option.kind) {
    case 'integer':
      return String(option.min)
    case 'boolean':
      return 'true'
    case 'choice':
      return option.choices[0] ?? ''
    case 'addresses':
      return 'a:1'
    case 'labels':
      return 'k=v'
    default:
      return option.key === 'store' || option.key === 'journal' ? 'sqlite:x' : 'some-text'
  }
}
