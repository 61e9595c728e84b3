/**
 * Skein in a Fastify app: a plugin that gives every route the node, stops with the server, and lets any instance of the app answer for all of them:
 *
 *   npx tsx examples/fastify.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import { type AgentContext, createNode, defineAgent, type SkeinNode } from 'skein'

declare module 'fastify' {
  interface FastifyInstance {
    skein: SkeinNode
  }
}

const Cart = defineAgent('cart', {
  state: { items: [] as string[] },
  on: {
    put: (ctx: AgentContext<{ items: string[] }>, item: string) => ctx.state.items.push(item),
    items: (ctx: AgentContext<{ items: string[] }>) => ctx.state.items,
  },
})

async function makeApp(node: SkeinNode): Promise<FastifyInstance> {
  const app = Fastify()
  app.decorate('skein', node)
  app.addHook('onClose', () => node.stop())
  node.agents.define(Cart)
  // Each customer's cart is one object in the whole cluster, wherever the request comes in.
  app.post<{ Params: { who: string }; Body: { item: string } }>('/carts/:who', async ({ params, body }) => {
    await app.skein.agents.place(Cart, params.who)
    return { count: await app.skein.agents.get(Cart, params.who).put(body.item) }
  })
  app.get<{ Params: { who: string } }>('/carts/:who', async ({ params }) => ({
    items: await app.skein.agents.get(Cart, params.who).items(),
  }))
  return app
}

const dir = mkdtempSync(join(tmpdir(), 'skein-example-'))
const common = { peerPort: 0, http: false, threads: 'inline', shards: 8, logLevel: 'error' } as const
const first = await createNode({ ...common, nodeId: 'app-1', dataDir: join(dir, 'app-1') })
const peers = [first.self.peerAddress]
const second = await createNode({ ...common, nodeId: 'app-2', dataDir: join(dir, 'app-2'), peers })
const apps = await Promise.all([makeApp(first), makeApp(second)])
const urls = await Promise.all(apps.map((app) => app.listen({ host: '127.0.0.1', port: 0 })))

const headers = { 'content-type': 'application/json' }
for (const [i, item] of ['tea', 'milk', 'sugar'].entries()) {
  const body = JSON.stringify({ item })
  const response = await fetch(`${urls[i % 2]}/carts/alice`, { method: 'POST', headers, body })
  console.log(`${item} by app ${(i % 2) + 1}: ${await response.text()}`)
}
console.log(`alice has ${await (await fetch(`${urls[1]}/carts/alice`)).text()}`)

for (const app of apps.reverse()) await app.close()
rmSync(dir, { recursive: true, force: true })
