/** What is special about WebSockets: strangers who speak HTTP, proxies on the way, two doors of a node, datagrams without UDP. */
import { connect } from 'node:net'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import WebSocket from 'ws'
import { WsFrameTransport } from '../../src/drivers/transport-ws/frame-transport.js'
import { makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import type { ConnectionEvent } from '../../src/ports/transport.js'
import { contractHello } from '../../src/testing/transport-contract-kit.js'
import { HttpProxy } from './http-proxy.js'
import { boundPort, codeOf, cookie, Nodes, until } from './kit.js'
import { Path } from './path.js'

const nodes = new Nodes('ws')
const tcpNodes = new Nodes('tcp')
const within = { timeoutMs: 3_000 }
const body = Buffer.from('hello')
const closing: (() => Promise<unknown>)[] = []
const options = { host: '127.0.0.1', port: 0, cookies: [Buffer.from(cookie)], isSecure: false }

afterEach(async () => {
  await nodes.end()
  await tcpNodes.end()
  for (const close of closing.splice(0).reverse()) await close()
})
afterAll(() => nodes.remove())

async function proxyTo(
  port: () => number | undefined,
  https?: { cert: string; key: string },
): Promise<HttpProxy> {
  const proxy = await HttpProxy.open({ route: port, ...(https === undefined ? {} : { https }) })
  closing.push(() => proxy.close())
  return proxy
}

/** All that a stranger hears before the connection ends. */
async function say(address: string, text: string | Buffer): Promise<string> {
  const socket = connect(Number(address.split(':')[1]), '127.0.0.1', () => socket.write(text))
  let heard = ''
  socket.on('data', (chunk) => {
    heard += String(chunk)
  })
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('close', resolve))
  return heard
}

const upgrade = (path: string, extra = ''): string =>
  `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${extra}\r\n`

describe('strangers at the door for WebSockets', () => {
  it('hear what it is for, or that it is not for them; all are counted, noted and closed', async () => {
    const a = await nodes.open('a', { handshakeTimeoutMs: 300 })
    const heard = [
      await say(a.address, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
      await say(a.address, 'no HTTP at all\r\n\r\n'),
      await say(a.address, Buffer.from([0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3])),
      await say(a.address, upgrade('/chat')),
      await say(a.address, upgrade('/skein/control')),
      await say(a.address, upgrade('/skein/mesh', 'origin: http://a.page\r\n')),
      await say(a.address, upgrade('/skein/mesh').replace('AAAA', 'A')),
      await say(a.address, `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`),
      await say(a.address, ''),
    ]
    expect(heard.map((answer) => answer.split(' ')[1])).toEqual([
      '426',
      '400',
      '400',
      '404',
      '503',
      '403',
      '400',
      '400',
      undefined,
    ])
    expect(a.transport.strangers().failed).toBe(9)
    expect(a.notes.every((n) => n.event === 'transport.handshake_failed')).toBe(true)
    expect(a.notes.some((n) => /same --transport/.test(String(n.fields.detail)))).toBe(true)
    expect(await say(a.address, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n')).toContain('200 OK')
    expect(a.transport.strangers().failed).toBe(9)
  })

  it('that open a WebSocket and say nothing, or no TLS, or too much at once, are closed in time', async () => {
    const a = await nodes.open('a', { handshakeTimeoutMs: 200 })
    const ended = (first?: string | Buffer): Promise<number> =>
      new Promise((resolve) => {
        const socket = new WebSocket(`ws://${a.address}/skein/mesh`)
        socket.on('error', () => undefined)
        socket.on('open', () => first !== undefined && socket.send(first))
        socket.on('close', resolve)
      })
    await Promise.all([ended(), ended('text'), ended(Buffer.alloc(500, 7)), ended(Buffer.alloc(300_000))])
    await until(
      'all counted',
      () => a.transport.strangers().failed === 4,
      () => [a.transport.strangers(), a.notes],
    )
    const b = await nodes.open('b')
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('ok')
  })

  it('are let in only so many at a time, and so often', async () => {
    const a = await nodes.open('a', { connectionsPerRemoteMax: 3, handshakeTimeoutMs: 200 })
    await Promise.all(Array.from({ length: 5 }, () => say(a.address, '')))
    expect(a.transport.strangers()).toEqual({ failed: 3, turnedAway: 2 })
    const b = await nodes.open('b', { handshakesPerRemotePerSecondMax: 2, handshakeTimeoutMs: 200 })
    await Promise.all(Array.from({ length: 12 }, () => say(b.address, '')))
    expect(b.transport.strangers()).toEqual({ failed: 4, turnedAway: 8 })
  })

  it('with another cookie are rejected, and both ends are told how to mend it', async () => {
    const a = await nodes.open('a')
    const b = await nodes.open('b', { cookies: [Buffer.from('another')] })
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
    for (const node of [a, b]) {
      await until(
        'rejected',
        () => node.events.length > 0,
        () => node.events,
      )
      expect(node.events[0]).toMatchObject({ type: 'rejected', code: 'bad_cookie' })
      expect((node.events[0] as { detail: string }).detail).toMatch(/--cookie/)
    }
    expect((a.events[0] as { detail: string }).detail).toMatch(/"b" at 127\.0\.0\.1:\d+/)
  })

  it('that are nodes with another transport are told what differs', async () => {
    const overWs = await nodes.open('a')
    const overTcp = await tcpNodes.open('b')
    await codeOf(overWs.transport.request(overTcp.address, 1, body, within))
    await codeOf(overTcp.transport.request(overWs.address, 1, body, within))
    for (const node of [overWs, overTcp]) {
      expect(node.events.map((e) => e.type)).toEqual(['unreachable'])
      const told = [...node.notes.map((n) => n.fields), ...node.events].map(
        (e) => (e as { detail: string }).detail,
      )
      expect(told.some((detail) => detail.includes('--transport'))).toBe(true)
    }
  })
})

describe('a proxy on the way', () => {
  it('that ends HTTPS can read nothing of what nodes say', async () => {
    const authority = await makeAuthority('c', 1)
    const site = await makeLeaf(authority, {
      name: 'p',
      uri: 'urn:p',
      hosts: ['127.0.0.1'],
      isServer: true,
      days: 1,
    })
    let port = 0
    const proxy = await proxyTo(() => port, site)
    proxy.isRecording = true
    const secure = { ...options, isSecure: true, authorities: [authority.cert], door: 'mesh' } as const
    const a = new WsFrameTransport(secure)
    const b = new WsFrameTransport({ ...secure, advertisePort: proxy.port })
    closing.push(
      () => a.close(),
      () => b.close(),
    )
    b.onFrame(({ body: asked, reply }) => reply?.(asked))
    await a.open(contractHello('a'))
    const address = await b.open(contractHello('b'))
    port = boundPort(b)
    const secret = Buffer.from('a word that must not be seen')
    expect(await a.request(address, 1, Buffer.concat(Array(50).fill(secret)), within)).toHaveLength(1_400)
    const recorded = Buffer.concat(proxy.recorded)
    expect(recorded.length).toBeGreaterThan(2_800)
    expect(recorded.includes(secret)).toBe(false)

    // One whose certificate nobody vouches for is not gone through, and the fix is named.
    const events: ConnectionEvent[] = []
    const c = new WsFrameTransport({ ...options, isSecure: true, door: 'mesh' })
    c.onConnection((event) => events.push(event))
    closing.push(() => c.close())
    await c.open(contractHello('c'))
    expect(await codeOf(c.request(address, 1, secret, within))).toBe('peer_unreachable')
    expect(events).toMatchObject([
      { type: 'rejected', code: 'bad_certificate', detail: expect.stringContaining('NODE_EXTRA_CA_CERTS') },
    ])
  })

  it('says that a node is gone: lost, then refused; that the proxy itself is gone is no evidence', async () => {
    const a = await nodes.open('a')
    let port = 0
    const proxy = await proxyTo(() => port)
    const b = await nodes.spawn('b', 1_024, proxy.port)
    port = b.port
    expect(b.address).toBe(proxy.address)
    const kinds = () => a.events.map((e) => e.type)
    a.transport.keep(b.address)
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('ok')
    // A proxy that is restarted: no verdict, and all goes on.
    proxy.cut()
    await until('up again', () => kinds().filter((kind) => kind === 'up').length === 2, kinds)
    expect(kinds()).toEqual(['up', 'lost', 'up'])
    b.kill()
    await until('refused', () => kinds().includes('refused'), kinds)
    // While it is being ended its port may still take a dial that nobody answers: no evidence.
    expect(kinds().filter((kind) => kind !== 'unreachable')).toEqual(['up', 'lost', 'up', 'lost', 'refused'])
    expect((a.events.at(-1) as { detail: string }).detail).toContain('502')
    a.events.length = 0
    await proxy.close()
    closing.pop()
    await until('unreachable', () => kinds().includes('unreachable'), kinds)
    expect(kinds()).not.toContain('refused')
    expect((a.events.at(-1) as { detail: string }).detail).toContain('the proxy at')
  })
})

describe('the two doors of a node', () => {
  async function twoDoors(id: string) {
    const [mesh, control] = (['mesh', 'control'] as const).map(
      (door) => new WsFrameTransport({ ...options, door }),
    )
    const got: string[] = []
    const addresses: string[] = []
    for (const transport of [mesh!, control!]) {
      closing.push(() => transport.close({ deadlineMs: 100 }))
      addresses.push(await transport.open({ ...contractHello(id), clusterName: 'test', bootId: id }))
    }
    mesh!.leadTo(addresses[1]!)
    control!.leadTo(addresses[0]!)
    await control!.datagrams.open()
    control!.datagrams.onDatagram((datagram, from) => got.push(`${from} ${Buffer.from(datagram)}`))
    return { mesh: mesh!, control: control!, addresses, got }
  }

  it('lead to each other: a datagram to the address of the mesh arrives where the control thread listens', async () => {
    const a = await twoDoors('a')
    const b = await twoDoors('b')
    a.control.datagrams.send(b.addresses[0]!, Buffer.from('join'))
    await until(
      'join',
      () => b.got.length === 1,
      () => b.got,
    )
    expect(b.got).toEqual([`${a.addresses[1]} join`])
    // From now on it is known by its own address.
    b.control.datagrams.send(a.addresses[1]!, Buffer.from('welcome'))
    await until(
      'welcome',
      () => a.got.length === 1,
      () => a.got,
    )
    expect(a.control.peers().map((p) => p.address)).toEqual([b.addresses[1]])
    expect(a.control.datagrams.stats()).toMatchObject({ sent: 1, received: 1, dropped: 0, refused: 0 })
  })

  it('keep what is said on one from the other: a door knows only its own path', async () => {
    const a = await twoDoors('a')
    const b = await twoDoors('b')
    // The mesh of a, told the control address of b, ends up at the mesh of b.
    b.mesh.onFrame(({ reply }) => reply?.(Buffer.from('mesh of b')))
    const answer = await a.mesh.request(b.addresses[1]!, 1, body, within)
    expect(Buffer.from(answer).toString()).toBe('mesh of b')
  })

  it('mend a path that swallows datagrams and lives on', async () => {
    const a = await twoDoors('a')
    let port = 0
    const path = await Path.open(() => port)
    closing.push(async () => path.close())
    const b = new WsFrameTransport({ ...options, door: 'control', advertisePort: path.port })
    closing.push(() => b.close({ deadlineMs: 100 }))
    const address = await b.open({ ...contractHello('b'), clusterName: 'test' })
    port = boundPort(b)
    let got = 0
    await b.datagrams.open()
    b.datagrams.onDatagram(() => got++)
    const sending = setInterval(() => a.control.datagrams.send(address, body), 50)
    closing.push(async () => clearInterval(sending))
    await until(
      'datagrams',
      () => got > 0,
      () => got,
    )
    // A connection so young may be one of two that were dialled at once, and is left alone.
    await new Promise((resolve) => setTimeout(resolve, 5_200))
    path.swallow()
    const before = got
    await until(
      'datagrams again',
      () => got > before + 20,
      () => [got, before],
      10_000,
    )
    expect(path.opened).toBe(2)
  }, 30_000)

  it('drop datagrams to a peer that takes none, and keep no more than a few', async () => {
    const { mesh } = await twoDoors('a')
    await mesh.datagrams.open()
    const b = await nodes.spawn('b')
    await mesh.request(b.address, 1, body, within)
    b.signal('SIGSTOP')
    const datagram = Buffer.alloc(4_096)
    for (let turn = 0; turn < 500 && mesh.datagrams.stats().dropped === 0; turn++) {
      for (let i = 0; i < 50; i++) mesh.datagrams.send(b.address, datagram)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(mesh.datagrams.stats().dropped).toBeGreaterThan(0)
    expect(mesh.queuedBytes(b.address)).toBeLessThan(512 * 1024)
    b.signal('SIGCONT')
    await until(
      'an empty queue',
      () => mesh.queuedBytes(b.address) === 0,
      () => mesh.queuedBytes(b.address),
    )
  })
})
