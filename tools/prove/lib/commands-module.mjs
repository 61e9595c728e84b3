// Loaded by the nodes that the commands are tried on: one of everything that a command can name.
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
export const Sleep = defineProcessor(
  'sleep',
  (ms, { signal }) =>
    new Promise((done, failed) => {
      setTimeout(() => done(`slept ${ms} ms`), ms)
      signal.addEventListener('abort', () => failed(signal.reason))
    }),
)

export async function setup(node) {
  node.services.provide('pricing', { quote: ({ sku }) => ({ sku, cents: 100 }) }, { version: '1.0' })
  if (node.self.id === 'node-1') await node.names.register('clerk', { greet: (who) => `hello ${who}` })
}
