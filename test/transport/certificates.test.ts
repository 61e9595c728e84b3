/** The mesh by certificates: who gets in, who does not and is told why, and changing certificates and authorities under traffic. */
import { connect } from 'node:tls'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { clientUri, nodeUri } from '../../src/core/kernel/certificate-name.js'
import { type MadeCertificate, makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import type { Certificate } from '../../src/ports/transport.js'
import { codeOf, Nodes, type TestNode, until } from './kit.js'

const nodes = new Nodes()
const within = { timeoutMs: 3_000 }
const body = Buffer.from('hello')
let ours: MadeCertificate
let theirs: MadeCertificate

beforeAll(async () => {
  ours = await makeAuthority('test', 10)
  theirs = await makeAuthority('test', 10)
})
afterEach(() => nodes.end())

async function certificate(uri: string, by = ours, days = 1): Promise<Certificate> {
  const made = await makeLeaf(by, { name: 'x', uri, hosts: [], isServer: true, days })
  return { ca: by.cert, ...made }
}

async function open(id: string, given?: Certificate): Promise<TestNode> {
  return nodes.open(id, { cookies: [], certificate: given ?? (await certificate(nodeUri('test', id))) })
}

async function rejection(node: TestNode): Promise<{ code?: string; detail?: string }> {
  await until(
    'a rejection',
    () => node.events.some(({ type }) => type === 'rejected'),
    () => node.events,
  )
  return node.events.find(({ type }) => type === 'rejected') as { code?: string; detail?: string }
}

describe('nodes with certificates', () => {
  it('of one authority talk to each other', async () => {
    const [a, b] = [await open('a'), await open('b')]
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('ok')
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('ok')
    expect(a.transport.peers()).toHaveLength(1)
  })

  it('of another authority are not let in, and are told', async () => {
    const [a, b] = [await open('a'), await open('b', await certificate(nodeUri('test', 'b'), theirs))]
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
    expect(await rejection(b)).toMatchObject({
      code: 'bad_certificate',
      detail: expect.stringContaining('skein cert'),
    })
    await until(
      'the failure',
      () => a.transport.strangers().failed > 0,
      () => a.notes,
    )
  })

  it('whose authority only trusts them one way are told, too', async () => {
    // b trusts a, a does not trust b: with TLS 1.3 b hears of it after its own end of the handshake is done.
    const foreign = await certificate(nodeUri('test', 'b'), theirs)
    const [a, b] = [await open('a'), await open('b', { ...foreign, ca: ours.cert + theirs.cert })]
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
    expect(await rejection(b)).toMatchObject({ code: 'bad_certificate' })
  })

  it('that call themselves something else are refused by both ends', async () => {
    const [a, b] = [await open('a'), await open('b', await certificate(nodeUri('test', 'not-b')))]
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
    for (const node of [a, b]) {
      const { code, detail } = await rejection(node)
      expect(code).toBe('bad_certificate')
      expect(detail).toContain('"not-b"')
    }
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('peer_unreachable')
  })

  it('of another cluster, or of a client, are no nodes here', async () => {
    const a = await open('a')
    for (const uri of [nodeUri('other', 'b'), clientUri('test', 'admin', 'b')]) {
      const b = await open('b', await certificate(uri))
      expect(await codeOf(b.transport.request(a.address, 1, body, within)), uri).toBe('peer_unreachable')
      expect(b.events.some(({ type }) => type === 'up')).toBe(false)
    }
    // The client got no further than the handshake.
    expect(a.transport.strangers().failed).toBe(1)
  })

  it('do not talk to those without, nor those with a cookie to them', async () => {
    const a = await open('a')
    const b = await nodes.open('b')
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('peer_unreachable')
    const port = Number(a.address.split(':').at(-1))
    const stranger = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    stranger.on('error', () => undefined)
    stranger.resume()
    await new Promise<void>((done) => stranger.once('close', () => done()))
    expect(a.events).not.toContainEqual(expect.objectContaining({ type: 'up' }))
  })
})

describe('certificates are changed', () => {
  it('for new ones, and for those of another authority, without losing a request', async () => {
    const [a, b] = [await open('a'), await open('b')]
    a.transport.keep(b.address)
    let isOver = false
    const outcomes = new Map<string, number>()
    const traffic = [a, b].map(async (from, i) => {
      const to = [b, a][i] as TestNode
      while (!isOver) {
        const code = await codeOf(from.transport.request(to.address, 1, body, within))
        outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
      }
    })
    const both = ours.cert + theirs.cert
    const steps = [
      (id: string) => certificate(nodeUri('test', id)),
      async (id: string) => ({ ...(await certificate(nodeUri('test', id))), ca: both }),
      async (id: string) => ({ ...(await certificate(nodeUri('test', id), theirs)), ca: both }),
      (id: string) => certificate(nodeUri('test', id), theirs),
    ]
    for (const step of steps) {
      for (const [node, id] of [
        [a, 'a'],
        [b, 'b'],
      ] as const)
        node.transport.rekey({ cookies: [], certificate: await step(id) })
      const seen = outcomes.get('ok') ?? 0
      await until(
        'traffic',
        () => (outcomes.get('ok') ?? 0) > seen + 50,
        () => [...outcomes],
      )
    }
    isOver = true
    await Promise.all(traffic)
    expect([...outcomes.keys()]).toEqual(['ok'])
    // One may close, by agreement, before the next is there.
    for (const { type } of [...a.events, ...b.events]) expect(['up', 'closed']).toContain(type)
    const late = await open('c')
    expect(await codeOf(late.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
  })

  it('and one that is over ends its connection', async () => {
    // Valid for five seconds more than it was made early.
    const shortly = await certificate(nodeUri('test', 'b'), ours, 2 / 86_400)
    const [a, b] = [await open('a'), await open('b', shortly)]
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('ok')
    await until(
      'the end',
      () => a.events.some(({ type }) => type === 'closed' || type === 'lost'),
      () => a.events,
      10_000,
    )
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
  })
})
