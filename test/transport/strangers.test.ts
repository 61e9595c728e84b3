import { randomBytes } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { cookieKeys, pskIdentity } from '../../src/engines/mesh/keys.js'
import { codeOf, cookie, Nodes, until } from './kit.js'

const nodes = new Nodes()
const within = { timeoutMs: 3_000 }
const body = Buffer.from('hello')

afterEach(() => nodes.end())

function portOf(address: string): number {
  return Number(address.split(':').at(-1))
}

function closed(socket: Socket): Promise<void> {
  socket.on('error', () => undefined)
  socket.resume()
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

describe('strangers at the peer port', () => {
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
    expect((a.events[0] as { detail: string }).detail).toContain('"b"')
    expect(a.transport.strangers().failed).toBe(1)
  })

  it('may use any of several cookies while they are being changed', async () => {
    const [old, fresh] = [Buffer.from('old'), Buffer.from('new')]
    const a = await nodes.open('a', { cookies: [fresh, old] })
    const b = await nodes.open('b', { cookies: [old, fresh] })
    const c = await nodes.open('c', { cookies: [old] })
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('ok')
    expect(await codeOf(c.transport.request(a.address, 1, body, within))).toBe('ok')
    expect(await codeOf(c.transport.request(b.address, 1, body, within))).toBe('ok')
  })

  it('of yesterday, whose cookie was dropped, end in good order; those with the new one go on', async () => {
    const [old, fresh] = [Buffer.from('old'), Buffer.from('new')]
    let answer: ((body: Uint8Array) => void) | undefined
    const a = await nodes.open('a', { cookies: [old] }, {}, ({ body: asked, reply }) => {
      if (asked.length === 0) answer = reply
      else reply?.(asked)
    })
    const b = await nodes.open('b', { cookies: [old] })
    const c = await nodes.open('c', { cookies: [old] })
    b.transport.keep(a.address)
    expect(await codeOf(c.transport.request(a.address, 1, body, within))).toBe('ok')
    const pending = codeOf(b.transport.request(a.address, 1, new Uint8Array(0), { timeoutMs: 10_000 }))
    await until(
      'the request',
      () => answer !== undefined,
      () => b.transport.peers(),
    )
    for (const { transport } of [a, b]) transport.rekey({ cookies: [old, fresh] })
    for (const { transport } of [a, b]) transport.rekey({ cookies: [fresh, old] })
    for (const { transport } of [a, b]) transport.rekey({ cookies: [fresh] })
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('ok')
    answer?.(body)
    expect(await pending).toBe('ok')
    await until(
      'c gone',
      () => c.events.some(({ type }) => type === 'closed'),
      () => c.events,
    )
    expect(await codeOf(c.transport.request(a.address, 1, body, within))).toBe('peer_unreachable')
    expect(b.events.map(({ type }) => type)).toEqual(['up'])
  })

  it('that send garbage are counted, noted and closed, and harm nobody', async () => {
    const a = await nodes.open('a', { handshakeTimeoutMs: 150 })
    const b = await nodes.open('b')
    const garbage = [
      Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
      randomBytes(500),
      Buffer.alloc(2_000, 0x16),
    ]
    for (const bytes of garbage) {
      const socket = connect(portOf(a.address), '127.0.0.1', () => socket.write(bytes))
      await closed(socket)
    }
    // One says nothing at all: the deadline of the handshake ends it.
    await closed(connect(portOf(a.address), '127.0.0.1'))
    expect(a.transport.strangers().failed).toBe(4)
    expect(a.notes.map((n) => n.event)).toEqual(Array(4).fill('transport.handshake_failed'))
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('ok')
  })

  it('that know the cookie but not the protocol are closed with a note', async () => {
    const a = await nodes.open('a')
    const [key] = cookieKeys([Buffer.from(cookie)])
    for (let i = 0; i < 20; i++) {
      const socket = connectTls({
        port: portOf(a.address),
        host: '127.0.0.1',
        ciphers: 'TLS_AES_128_GCM_SHA256',
        checkServerIdentity: () => undefined,
        pskCallback: () => ({ psk: key!.psk, identity: pskIdentity(key!, 'x') }),
      })
      socket.once('secureConnect', () => socket.write(randomBytes(1 + i * 40)))
      setTimeout(() => socket.end(), 200)
      await closed(socket)
    }
    expect(a.notes.some((n) => n.event === 'transport.violation')).toBe(true)
    const b = await nodes.open('b')
    expect(await codeOf(b.transport.request(a.address, 1, body, within))).toBe('ok')
  })

  it('are let in only so often from one address', async () => {
    const a = await nodes.open('a', { handshakesPerRemotePerSecondMax: 2, handshakeTimeoutMs: 100 })
    await Promise.all(Array.from({ length: 12 }, () => closed(connect(portOf(a.address), '127.0.0.1'))))
    expect(a.transport.strangers()).toEqual({ failed: 4, turnedAway: 8 })
  })

  it('and only so many at a time', async () => {
    const a = await nodes.open('a', { connectionsPerRemoteMax: 3, handshakeTimeoutMs: 100 })
    await Promise.all(Array.from({ length: 5 }, () => closed(connect(portOf(a.address), '127.0.0.1'))))
    expect(a.transport.strangers()).toEqual({ failed: 3, turnedAway: 2 })
  })

  it('behind which nobody speaks are unreachable in time', async () => {
    const a = await nodes.open('a', { handshakeTimeoutMs: 100 })
    const sockets: Socket[] = []
    const silent = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
    })
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const address = `127.0.0.1:${(silent.address() as { port: number }).port}`
    const startMs = performance.now()
    expect(await codeOf(a.transport.request(address, 1, body, within))).toBe('peer_unreachable')
    expect(performance.now() - startMs).toBeLessThan(1_000)
    expect(a.events.map((e) => e.type)).toEqual(['unreachable'])
    expect(a.transport.peers()[0]).toMatchObject({ circuit: 'open', attemptCount: 1 })
    // While the breaker is open a request fails at once, without a dial.
    expect(await codeOf(a.transport.request(address, 1, body, within))).toBe('peer_unreachable')
    expect(sockets.length).toBe(1)
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => silent.close(resolve))
  })
})
