import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { carriers, codeOf, Nodes, type TestNode, until } from './kit.js'

const within = { timeoutMs: 10_000 }
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

function openConnections(node: TestNode): number {
  return (node.transport as unknown as { connections: Set<unknown> }).connections.size
}

describe.each(carriers)('connections by %s', (carrier) => {
  const nodes = new Nodes(carrier)
  afterEach(() => nodes.end())
  afterAll(() => nodes.remove())

  it('tell of a killed process within milliseconds: lost, then refused', async () => {
    const a = await nodes.open('a')
    const times: number[] = []
    for (let round = 0; round < 5; round++) {
      const b = await nodes.spawn(`b${round}`)
      await a.transport.request(b.address, 1, Buffer.from('hello'), within)
      await sleep(20)
      a.events.length = 0
      const killedMs = performance.now()
      b.kill()
      await until(
        'refused',
        () => a.events.some((e) => e.type === 'refused'),
        () => a.events,
      )
      expect(a.events.slice(0, 2).map((e) => [e.type, e.address])).toEqual([
        ['lost', b.address],
        ['refused', b.address],
      ])
      times.push(a.events[1]!.atMs - killedMs)
    }
    times.sort((x, y) => x - y)
    console.log(`kill -9 to lost and refused: ${times.map((t) => t.toFixed(1)).join(' ')} ms`)
    expect(times[2]).toBeLessThan(200)
  })

  it('lost tell what was certainly not sent from what may have been', async () => {
    const a = await nodes.open('a')
    const b = await nodes.spawn('b', 1)
    await a.transport.request(b.address, 1, Buffer.from('hello'), within)
    const sent = codeOf(a.transport.request(b.address, 9, Buffer.from('never answered'), within))
    const held = codeOf(a.transport.request(b.address, 9, Buffer.from('waits for credit'), within))
    await sleep(50)
    b.kill()
    expect([await sent, await held]).toEqual(['outcome_unknown', 'peer_unreachable'])
  })

  it('dialled from both ends at once become one, and nothing in flight is lost', async () => {
    for (let round = 0; round < 15; round++) {
      const answers: (() => void)[] = []
      const slow = ({ body, reply }: { body: Uint8Array; reply?: (b: Uint8Array) => void }): void => {
        answers.push(() => reply?.(body))
        setTimeout(() => answers.shift()?.(), 5 + (round % 4) * 10)
      }
      const pair: [string, string] = round % 2 === 0 ? ['a', 'b'] : ['b', 'a']
      const x = await nodes.open(pair[0], {}, {}, slow)
      const y = await nodes.open(pair[1], {}, {}, slow)
      const ask = async (from: TestNode, to: TestNode, delayMs: number): Promise<string[]> => {
        await sleep(delayMs)
        const codes: string[] = []
        for (let i = 0; i < 10; i++) {
          codes.push(await codeOf(from.transport.request(to.address, 1, Buffer.from(`${i}`), within)))
        }
        return codes
      }
      const codes = await Promise.all([ask(x, y, 0), ask(y, x, round % 3), ask(x, y, 1), ask(y, x, 0)])
      expect(codes.flat().every((code) => code === 'ok')).toBe(true)
      await until(
        'one connection',
        () => openConnections(x) === 1 && openConnections(y) === 1,
        () => [openConnections(x), openConnections(y)],
      )
      expect([x, y].map((n) => n.events.map((e) => e.type))).toEqual([['up'], ['up']])
      await nodes.end()
    }
  })

  it('of a node that came back as another boot replace those of the old one', async () => {
    const a = await nodes.open('a')
    const b = await nodes.open('b')
    a.transport.keep(b.address)
    await until(
      'up',
      () => a.events.length === 1,
      () => a.events,
    )
    await b.transport.close()
    const port = Number(b.address.split(':')[1])
    await nodes.open('b', { port }, { bootId: 'next boot' })
    await until(
      'up again',
      () => a.events.some((e) => e.type === 'up' && e.hello.bootId === 'next boot'),
      () => a.events,
    )
    expect(a.events.some((e) => e.type === 'closed')).toBe(true)
  })

  it('without use are closed by agreement, kept ones stay', async () => {
    const a = await nodes.open('a', { idleTimeoutMs: 100 })
    const b = await nodes.open('b', { idleTimeoutMs: 100 })
    const c = await nodes.open('c', { idleTimeoutMs: 100 })
    a.transport.keep(c.address)
    await a.transport.request(b.address, 1, Buffer.from('hello'), within)
    await until(
      'closed at both ends',
      () => [a, b].every((n) => n.events.at(-1)?.type === 'closed'),
      () => [a.events, b.events],
    )
    expect(a.transport.peers().find((p) => p.address === c.address)?.connected).toBe(true)
    expect(c.events.map((e) => e.type)).toEqual(['up'])
    expect(await codeOf(b.transport.request(a.address, 1, Buffer.from('hello'), within))).toBe('ok')
  })

  it('are found again under another name of the same peer', async () => {
    const a = await nodes.open('a')
    const b = await nodes.open('b')
    const alias = b.address.replace('127.0.0.1', 'localhost')
    for (let i = 0; i < 3; i++) {
      expect(await codeOf(a.transport.request(alias, 1, Buffer.from('hello'), within))).toBe('ok')
    }
    expect(openConnections(a)).toBe(1)
    expect(a.events.map((e) => [e.type, e.address])).toEqual([['up', b.address]])
  })

  it('to oneself are told apart from a stranger', async () => {
    const a = await nodes.open('a')
    expect(await codeOf(a.transport.request(a.address, 1, Buffer.from('hello'), within))).toBe(
      'peer_unreachable',
    )
    expect(a.events.map((e) => e.type)).toEqual(['unreachable'])
    expect((a.events[0] as { detail: string }).detail).toContain('itself')
  })
})

describe.each(carriers)('a peer by %s that does not read', (carrier) => {
  const nodes = new Nodes(carrier)
  afterEach(() => nodes.end())
  afterAll(() => nodes.remove())

  it('costs no more than its queue, and gets everything that was accepted when it reads again', async () => {
    const a = await nodes.open('a', { queueBytesMax: 8 * 1024 * 1024 })
    const b = await nodes.spawn('b')
    await a.transport.request(b.address, 1, Buffer.from('hello'), within)
    b.signal('SIGSTOP')
    const before = process.memoryUsage()
    const body = Buffer.alloc(10_000)
    let accepted = 0
    let full = 0
    for (let turn = 0; turn < 200; turn++) {
      for (let i = 0; i < 50; i++) a.transport.send(b.address, 7, body) === 'queued' ? accepted++ : full++
      await sleep(1)
    }
    const after = process.memoryUsage()
    const grownMiB = (after.arrayBuffers - before.arrayBuffers) / 2 ** 20
    expect(full).toBeGreaterThan(0)
    expect(a.transport.peers()[0]?.queuedBytes).toBeLessThanOrEqual(8 * 1024 * 1024)
    expect(grownMiB).toBeLessThan(32)
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('overloaded')
    b.signal('SIGCONT')
    await until(
      'an empty queue',
      () => a.transport.peers()[0]?.queuedBytes === 0,
      () => a.transport.peers(),
    )
    expect(await codeOf(a.transport.request(b.address, 1, body, within))).toBe('ok')
    expect(Number(await b.say('notes'))).toBe(accepted)
  })

  it('its replies stops being worked for', async () => {
    let begun = 0
    const big = Buffer.alloc(1024 * 1024)
    const a = await nodes.open('a', {}, {}, ({ reply }) => {
      begun++
      reply?.(big)
    })
    const b = await nodes.spawn('b')
    await a.transport.request(b.address, 1, Buffer.from('hello'), within)
    await b.say(`ask ${a.address} 300`)
    b.signal('SIGSTOP')
    await sleep(300)
    expect(begun).toBeLessThan(300)
    expect(a.transport.peers()[0]?.queuedBytes).toBeLessThan(8 * 1024 * 1024)
    b.signal('SIGCONT')
    await until(
      'the rest',
      () => begun === 300,
      () => begun,
      15_000,
    )
  })
})
