// Processors for `prove spawn`: one that waits as for a database, one that computes; and a plain one. What each event did goes into files of the node.

import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { defineProcessor } from '../../../dist/index.js'

const log = process.env.PROVE_SPAWN_LOG
const load = { everyMs: 1000, threshold: 100, processorsMax: 3 }

/** One line for each event that was at work, at once: what is done twice is seen. */
const record = ({ share, nodeId }, { id, key, offset }) => {
  const { epoch, batch, shard } = share
  appendFileSync(`${log}/${nodeId}.log`, `${id} ${key} ${offset} ${shard} ${epoch} ${batch} ${Date.now()}\n`)
}

const each = (work) => async (batch, context) => {
  for (const event of batch) {
    await work(event)
    if (!context.share.isHeld()) throw new Error('the batch is not ours any more')
    record(context, event)
  }
}

const wait = each(() => new Promise((done) => setTimeout(done, 5)))
const compute = each(async ({ id }) => {
  let digest = id
  for (let i = 0; i < 2000; i++) digest = createHash('sha256').update(digest).digest('hex')
  await new Promise((turn) => setImmediate(turn))
})

export const Square = defineProcessor('square', (n) => n * n, { isIdempotent: true })
export const Sleep = defineProcessor(
  'sleep',
  (ms, { signal }) =>
    new Promise((done, failed) => {
      setTimeout(() => done(`slept ${ms} ms`), ms)
      signal.addEventListener('abort', () => failed(signal.reason))
    }),
  { isIdempotent: true },
)

export function setup(node) {
  if (log === undefined) return
  for (const [name, run] of [
    ['wait', wait],
    ['compute', compute],
  ])
    for (const helped of [false, true])
      node.processors.process(
        `${name}-${helped ? 'helped' : 'alone'}`,
        defineProcessor(`${name}-${helped}`, run),
        {
          batchMax: 10,
          load: helped ? load : { ...load, processorsMax: 1 },
        },
      )
}
