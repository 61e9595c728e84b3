import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dnsSource } from '../../src/drivers/discovery-dns/dns-source.js'
import { fileSource } from '../../src/drivers/discovery-file/file-source.js'
import { Discoverer } from '../../src/runtime/discoverer.js'
import { DnsServer } from './dns-server.js'

const { signal } = new AbortController()

describe('discovery by DNS', () => {
  let server: DnsServer
  let at: string
  beforeEach(async () => {
    server = new DnsServer()
    at = await server.start()
  })
  afterEach(() => server.stop())

  it('finds every address of a name, old and new family, and takes the port from the source', async () => {
    server.records = [
      { type: 'A', name: 'nodes.example', data: '10.0.0.2' },
      { type: 'A', name: 'nodes.example', data: '10.0.0.1' },
      { type: 'AAAA', name: 'nodes.example', data: 'fd12::1' },
      { type: 'A', name: 'other.example', data: '10.9.9.9' },
    ]
    const source = dnsSource(`dns:nodes.example:6745?server=${at}`)
    expect(await source.find(signal)).toEqual(['10.0.0.1:6745', '10.0.0.2:6745', '[fd12::1]:6745'])
  })

  it('finds host and port by SRV records', async () => {
    server.records = [
      { type: 'SRV', name: '_skein._tcp.example', data: { target: 'a.example', port: 7001 } },
      { type: 'SRV', name: '_skein._tcp.example', data: { target: 'b.example', port: 7002 } },
      { type: 'A', name: 'a.example', data: '10.0.0.1' },
      { type: 'A', name: 'b.example', data: '10.0.0.2' },
    ]
    const source = dnsSource(`dns+srv:_skein._tcp.example?server=${at}`)
    expect(await source.find(signal)).toEqual(['10.0.0.1:7001', '10.0.0.2:7002'])
  })

  it('takes a name that is gone for an empty list, and a server in trouble for an error that names the source', async () => {
    const source = dnsSource(`dns:nodes.example:6745?server=${at}`)
    expect(await source.find(signal)).toEqual([])
    server.failWith = 3
    expect(await source.find(signal)).toEqual([])
    server.failWith = 2
    await expect(source.find(signal)).rejects.toThrow(/dns:nodes\.example:6745.*(SERVFAIL|ESERVFAIL)/)
  })

  it('asks the system where no server is named', async () => {
    expect(await dnsSource('dns:localhost:6745').find(signal)).toContain('127.0.0.1:6745')
  })

  it.each([
    'dns:name',
    'dns:name:0',
    'dns:name:70000',
    'dns+srv:name:80',
    'dns:na me:1',
    'dns:name:1?server=not-an-ip',
  ])('refuses %s', (text) => {
    expect(() => dnsSource(text)).toThrow(/--discover "/)
  })
})

describe('discovery by file', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'skein-discovery-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('reads one address a line, with comments, anew each time', async () => {
    const path = join(directory, 'peers')
    writeFileSync(path, '# ours\n10.0.0.1:6745\n\n  [fd12::1]:6745 # the other\n10.0.0.1:6745\n')
    const source = fileSource(`file:${path}`)
    expect(await source.find(signal)).toEqual(['10.0.0.1:6745', '[fd12::1]:6745'])
    writeFileSync(path, '')
    expect(await source.find(signal)).toEqual([])
  })

  it('names file and line of what it cannot use', async () => {
    const path = join(directory, 'peers')
    const source = fileSource(`file:${path}`)
    await expect(source.find(signal)).rejects.toThrow(/no such file/)
    writeFileSync(path, '10.0.0.1:6745\nnonsense\n')
    await expect(source.find(signal)).rejects.toThrow(`${path}: line 2: "nonsense" is not host:port`)
  })
})

describe('the discoverer', () => {
  it('hands on what changes, keeps what a source found before it failed, and says so once', async () => {
    const answers: (readonly string[] | Error)[] = [
      ['a:1'],
      ['a:1'],
      new Error('away'),
      new Error('away'),
      ['b:2'],
      [],
    ]
    const found: (readonly string[])[] = []
    const notes: string[] = []
    const discoverer = new Discoverer({
      sources: [
        {
          name: 'test',
          find: async () => {
            const answer = answers.shift() ?? []
            if (answer instanceof Error) throw answer
            return answer
          },
        },
      ],
      fixed: ['fixed:1'],
      found: (addresses) => found.push(addresses),
      note: (_, event) => notes.push(event),
    })
    for (let i = 0; i < 6; i++) await discoverer.look()
    expect(found).toEqual([['fixed:1', 'a:1'], ['fixed:1', 'b:2'], ['fixed:1']])
    expect(notes).toEqual(['discovery.failed', 'discovery.recovered'])
    discoverer.close()
  })
})
