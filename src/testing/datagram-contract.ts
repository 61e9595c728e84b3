/**
 * What every datagram driver must do, as tests. Bring your own `describe` and `it`. Sealing, replays and forgeries
 * belong to the tests of the driver that has them.
 */
import assert from 'node:assert/strict'
import type { Address } from '../core/kernel/brand.js'
import type { DatagramTransport } from '../ports/transport.js'
import type { TestRunner } from './store-contract.js'
import { bytes, text, until } from './transport-contract-kit.js'

export interface DatagramWorld {
  make(): DatagramTransport
  end(): Promise<void>
}

/** The contract of {@link DatagramTransport}. */
export function describeDatagramTransportContract(
  name: string,
  makeWorld: () => Promise<DatagramWorld>,
  runner: TestRunner,
): void {
  const test = (
    title: string,
    run: (
      make: () => Promise<{ transport: DatagramTransport; address: Address; got: string[] }>,
    ) => Promise<void>,
  ): void =>
    runner.it(title, async () => {
      const world = await makeWorld()
      const opened: DatagramTransport[] = []
      try {
        await run(async () => {
          const transport = world.make()
          const got: string[] = []
          transport.onDatagram((datagram, from) => got.push(`${from} ${text(datagram)}`))
          const address = await transport.open()
          opened.push(transport)
          return { transport, address, got }
        })
      } finally {
        for (const transport of opened) await transport.close()
        await world.end()
      }
    })

  runner.describe(`${name}: datagrams`, () => {
    test('arrive with the address of their sender, and are counted', async (make) => {
      const a = await make()
      const b = await make()
      a.transport.send(b.address, bytes('ping'))
      await until(
        'ping',
        () => b.got.length === 1,
        () => b.got,
      )
      assert.deepEqual(b.got, [`${a.address} ping`])
      b.transport.send(a.address, bytes('pong'))
      await until(
        'pong',
        () => a.got.length === 1,
        () => a.got,
      )
      const { sent, sentBytes, received, receivedBytes, refused } = a.transport.stats()
      assert.deepEqual([sent, received, refused], [1, 1, 0])
      assert.ok(sentBytes >= 4 && receivedBytes >= 4)
    })

    test('as large as promised pass, larger ones are dropped and counted', async (make) => {
      const a = await make()
      const b = await make()
      const { datagramBytesMax } = a.transport
      a.transport.send(b.address, new Uint8Array(datagramBytesMax + 1))
      assert.equal(a.transport.stats().dropped, 1)
      a.transport.send(b.address, new Uint8Array(datagramBytesMax))
      await until(
        'the largest',
        () => b.got.length === 1,
        () => b.got.length,
      )
    })

    test('to nobody, to nonsense and after close never throw', async (make) => {
      const a = await make()
      const b = await make()
      await b.transport.close()
      for (const to of [b.address, 'nonsense', '', 'host:99999', '[::1']) a.transport.send(to, bytes('x'))
      await a.transport.close()
      a.transport.send(b.address, bytes('x'))
      assert.ok(a.transport.stats().dropped >= 1)
    })
  })
}
