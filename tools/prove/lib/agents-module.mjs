// Loaded by the nodes of the proofs: a counter, and an agent that notes each of its ticks in a file
import { appendFileSync } from 'node:fs'
import { defineAgent } from '../../../dist/index.js'

export const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: {
    add: (ctx, by) => {
      ctx.state.n += by
      return ctx.state.n
    },
    get: (ctx) => ctx.state.n,
  },
})

/** One line a tick: name, epoch, node, monotonic ms. */
export const Ticker = defineAgent('ticker', {
  state: { ticks: 0 },
  on: { ticks: (ctx) => ctx.state.ticks },
  onStart: (ctx) => {
    const { file, every_ms } = ctx.config
    ctx.every(every_ms, () => {
      appendFileSync(
        file,
        `${ctx.name} ${ctx.epoch} ${ctx.nodeId} ${(Number(process.hrtime.bigint()) / 1e6).toFixed(1)}\n`,
      )
    })
  },
})
