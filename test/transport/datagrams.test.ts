import { randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { UdpDatagramTransport } from '../../src/drivers/transport-tcp/datagram-transport.js'
import { Opener, ReplayWindow, Sealer } from '../../src/drivers/transport-tcp/seal.js'
import { until } from './kit.js'

const cookie = Buffer.from('a cookie for tests')
const sockets: Socket[] = []
const transports: UdpDatagramTransport[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close()
  for (const transport of transports.splice(0)) await transport.close()
})

async function open(cookies: readonly Uint8Array[] = [cookie]) {
  const transport = new UdpDatagramTransport({ host: '127.0.0.1', port: 0, cookies })
  transports.push(transport)
  const got: string[] = []
  transport.onDatagram((datagram) => got.push(Buffer.from(datagram).toString()))
  return { transport, got, address: await transport.open() }
}

/** Takes what is sent to it, as somebody on the path would. */
async function eavesdropper() {
  const socket = createSocket('udp4')
  sockets.push(socket)
  const seen: Buffer[] = []
  socket.on('message', (bytes) => seen.push(bytes))
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return {
    seen,
    address: `127.0.0.1:${socket.address().port}`,
    sendTo: (address: string, bytes: Uint8Array) =>
      socket.send(bytes, Number(address.split(':')[1]), '127.0.0.1'),
  }
}

describe('sealed datagrams', () => {
  it('that are replayed or sent back are dropped and counted', async () => {
    const [a, b, spy] = await Promise.all([open(), open(), eavesdropper()])
    for (const text of ['one', 'two', 'three']) a.transport.send(spy.address, Buffer.from(text))
    await until(
      'three datagrams',
      () => spy.seen.length === 3,
      () => spy.seen.length,
    )
    const [one, two, three] = spy.seen as [Buffer, Buffer, Buffer]
    for (const bytes of [three, one, three, one, two, two]) spy.sendTo(b.address, bytes)
    spy.sendTo(a.address, one)
    await until(
      'all judged',
      () => b.transport.stats().refused === 3 && a.transport.stats().refused === 1,
      () => [a.transport.stats(), b.transport.stats()],
    )
    expect(b.got).toEqual(['three', 'one', 'two'])
    expect(a.got).toEqual([])
  })

  it('of a cookie that was dropped are refused, though their sender was known', () => {
    const [old, fresh] = [Buffer.from('old'), Buffer.from('new')]
    const opener = new Opener([old], randomBytes(8))
    const sealer = new Sealer(old)
    expect(opener.open(sealer.seal(Buffer.from('1')), 0)).toBeDefined()
    opener.rekey([old, fresh], randomBytes(8))
    expect(opener.open(sealer.seal(Buffer.from('2')), 0)).toBeDefined()
    expect(opener.open(new Sealer(fresh).seal(Buffer.from('3')), 0)).toBeDefined()
    opener.rekey([fresh], randomBytes(8))
    expect(opener.open(sealer.seal(Buffer.from('4')), 0)).toBeUndefined()
  })

  it('of another cookie are refused, of an older one opened', async () => {
    const older = Buffer.from('older')
    const [a, b, c, d] = await Promise.all([
      open([cookie, older]),
      open([older]),
      open([Buffer.from('another')]),
      open([older, cookie]),
    ])
    b.transport.send(a.address, Buffer.from('older'))
    c.transport.send(a.address, Buffer.from('another'))
    a.transport.send(d.address, Buffer.from('newer'))
    await until(
      'judged',
      () => a.got.length + a.transport.stats().refused === 2 && d.got.length === 1,
      () => a.got,
    )
    expect([a.got, a.transport.stats().refused, d.got]).toEqual([['older'], 1, ['newer']])
  })

  it('that were changed anywhere are refused: 10,000 mutations', () => {
    const sealer = new Sealer(cookie)
    const opener = new Opener([cookie], randomBytes(8))
    const plain = randomBytes(300)
    expect(opener.open(sealer.seal(plain), 0)?.equals(plain)).toBe(true)
    let nowMs = 0
    for (let i = 0; i < 10_000; i++) {
      nowMs += 10
      const sealed = sealer.seal(plain)
      let mutated: Buffer = sealed
      if (i % 4 === 0) mutated = sealed.subarray(0, Math.floor(Math.random() * sealed.length))
      else if (i % 4 === 1) mutated = Buffer.concat([sealed, randomBytes(1 + (i % 7))])
      else if (i % 4 === 2) mutated = randomBytes(i % 400)
      else {
        const at = Math.floor(Math.random() * sealed.length)
        sealed[at] = (sealed[at] as number) ^ (1 + Math.floor(Math.random() * 255))
      }
      expect(opener.open(mutated, nowMs)).toBeUndefined()
    }
    expect(opener.open(sealer.seal(plain), nowMs)?.equals(plain)).toBe(true)
  })

  it('with salts never seen cost only so many key derivations a second', () => {
    const opener = new Opener([cookie], randomBytes(8))
    const known = new Sealer(cookie)
    expect(opener.open(known.seal(Buffer.from('x')), 0)).toBeDefined()
    for (let i = 0; i < 2_000; i++) opener.open(new Sealer(randomBytes(8)).seal(Buffer.from('x')), 1)
    expect(opener.open(new Sealer(cookie).seal(Buffer.from('new')), 2)).toBeUndefined()
    expect(opener.open(known.seal(Buffer.from('known')), 2)).toBeDefined()
    expect(opener.open(new Sealer(cookie).seal(Buffer.from('new')), 1_500)).toBeDefined()
  })

  it('pass at most once each, whatever their order (against a plain set)', () => {
    const counters = fc.array(fc.integer({ min: 1, max: 6_000 }), { minLength: 1, maxLength: 300 })
    fc.assert(
      fc.property(counters, (list) => {
        const window = new ReplayWindow(list[0]!)
        const seen = new Set([list[0]!])
        let newest = list[0]!
        for (const counter of list.slice(1)) {
          const isExpected = !seen.has(counter) && newest - counter < 2_048
          expect(window.isNew(counter)).toBe(isExpected)
          if (!isExpected) continue
          window.see(counter)
          seen.add(counter)
          newest = Math.max(newest, counter)
        }
      }),
    )
  })
})
