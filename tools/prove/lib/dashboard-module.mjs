// Loaded by the nodes of `prove dashboard`: something of everything that the dashboard shows
import { defineAgent, defineProcessor } from '../../../dist/index.js'

export const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: {
    add: (ctx, by) => {
      ctx.state.n += by
      return ctx.state.n
    },
  },
})
export const Square = defineProcessor('square', (n) => n * n, { isIdempotent: true })

export async function setup(node) {
  node.services.provide('pricing', { quote: ({ sku }) => ({ sku, price: 7 }), hold: () => true })
  node.map('presence').set(node.self.id, { at: 'desk' })
  await node.names.register('scheduler', { next: () => 1 }, { kind: 'well_known' })
}
