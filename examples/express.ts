/**
 * Skein in an Express app: two instances of one app, each takes any request; what is heavy goes to whoever offers it, what must not be lost is
 * durable before the answer:
 *
 *   npx tsx examples/express.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import express, { type Express } from 'express'
import { createNode, isSkeinError, type SkeinNode } from 'skein'

function makeApp(node: SkeinNode): Express {
  const app = express()
  app.use(express.json())
  app.post('/orders/:customer', async (request, response) => {
    const { customer } = request.params
    const price = await node.services.call<number>('pricing', 'price', request.body)
    const order = { ...request.body, price }
    const { shard, offset } = await node.events.publish('orders', { key: customer, payload: order })
    response.status(201).json({ price, shard, offset })
  })
  app.get('/orders/:customer', async (request, response) => {
    const { events } = await node.events.read({ stream: 'orders', key: request.params.customer })
    response.json(events.map(({ payload }) => payload))
  })
  // Skein says with each error whether the very same request may be made again.
  app.use(
    (error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
      const isPassing = isSkeinError(error) && error.retryable
      response.status(isPassing ? 503 : 500).json({ error: error.message })
    },
  )
  return app
}

function listen(app: Express): Promise<{ server: Server; url: string }> {
  return new Promise((resolve) => {
    const server = app.listen(0, '127.0.0.1', () =>
      resolve({ server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }),
    )
  })
}

const dir = mkdtempSync(join(tmpdir(), 'skein-example-'))
const common = { peerPort: 0, http: false, threads: 'inline', shards: 8, logLevel: 'error' } as const
const first = await createNode({ ...common, nodeId: 'app-1', dataDir: join(dir, 'app-1') })
const peers = [first.self.peerAddress]
const second = await createNode({ ...common, nodeId: 'app-2', dataDir: join(dir, 'app-2'), peers })
// Only the second offers it; the first finds it there.
second.services.provide('pricing', { price: ({ item, count }) => item.length * count })
await first.services.wait('pricing')
const doors = await Promise.all([listen(makeApp(first)), listen(makeApp(second))])

const headers = { 'content-type': 'application/json' }
for (const [i, order] of [
  { item: 'tea', count: 2 },
  { item: 'milk', count: 1 },
].entries()) {
  const options = { method: 'POST', headers, body: JSON.stringify(order) }
  const response = await fetch(`${doors[i]?.url}/orders/alice`, options)
  console.log(`${response.status} ${await response.text()}`)
}
console.log(`alice ordered ${await (await fetch(`${doors[0]?.url}/orders/alice`)).text()}`)

for (const { server } of doors) server.close()
await second.stop()
await first.stop()
rmSync(dir, { recursive: true, force: true })
