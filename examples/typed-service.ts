/**
 * A service with types on both sides, between two nodes of one program; in life each would be a process of its own:
 *
 *   npx tsx examples/typed-service.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, defineService, ServiceError } from 'skein'
import { z } from 'zod'

// What both sides agree on. It can live in a package of its own.
const Pricing = defineService('pricing', {
  version: '1.0',
  methods: {
    quote: {
      input: z.object({ sku: z.string(), count: z.number().int().positive() }),
      output: z.object({ price: z.number(), currency: z.string() }),
      idempotent: true,
    },
    watch: { input: z.object({ sku: z.string() }), output: z.number(), stream: true },
  },
})

const dir = mkdtempSync(join(tmpdir(), 'skein-example-'))
const common = { peerPort: 0, http: false, threads: 'inline', shards: 8, logLevel: 'error' } as const
const shop = await createNode({ ...common, nodeId: 'shop', dataDir: join(dir, 'shop') })
const till = await createNode({
  ...common,
  nodeId: 'till',
  dataDir: join(dir, 'till'),
  peers: [shop.self.peerAddress],
})

const prices: Record<string, number> = { tea: 3.5, milk: 1.2 }
const offered = shop.services.provide(Pricing, {
  quote({ sku, count }) {
    const price = prices[sku]
    if (price === undefined)
      throw new ServiceError('unknown_sku', `no price for ${sku}`, { details: { sku } })
    return { price: price * count, currency: 'EUR' }
  },
  async *watch({ sku }) {
    for (const factor of [1, 1.1, 1.2]) yield (prices[sku] ?? 0) * factor
  },
})

// Wherever it runs: here over the mesh, in the same process as a plain call.
await till.services.wait('pricing')
const pricing = till.services.get(Pricing, { timeoutMs: 2_000 })
const { price, currency } = await pricing.quote({ sku: 'tea', count: 2 })
console.log(`two teas: ${price.toFixed(2)} ${currency}`)
for await (const now of pricing.watch({ sku: 'milk' })) console.log(`milk at ${now.toFixed(2)}`)
await pricing.quote({ sku: 'gold', count: 1 }).catch((error: ServiceError) => {
  console.log(`refused: ${error.code} ${JSON.stringify(error.details)}`)
})

await offered.stop()
await till.stop()
await shop.stop()
rmSync(dir, { recursive: true, force: true })
