// Processors for `prove spawn`: one that waits as for a database, one that computes; and a plain one. What each event did goes into files of the node.

import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { defineProcessor } from '../../../dist/index.js'

const log = process.env.PROVE_SPAWN_LOG
const load = { everyMs: Number(process.env.PROVE_SPAWN_LOOK ?? 1000), threshold: 100, processorsMax: 3 }

const record = (context, batch) => {
  // One line for a batch: what happens once for the batch must not depend on the number of lines.
  const { epoch, batch: number, shard } = context.share
  const lines = batch.map((e) => `${e.id} ${e.key} ${e.offset} ${shard} ${epoch} ${number} ${Date.now()}\n`)
  appendFileSync(`${log}/${context.nodeId}.log`, lines.join(''))
}

const wait = async (batch, context) => {
  for (const _ of batch) await new Promise((done) => setTimeout(done, 5))
  if (!context.share.isHeld()) throw new Error('the batch is not ours any more')
  record(context, batch)
}

const compute = async (batch, context) => {
  for (const { id } of batch) {
    let digest = id
    for (let i = 0; i < 2000; i++) digest = createHash('sha256').update(digest).digest('hex')
    await new Promise((turn) => setImmediate(turn))
  }
  if (!context.share.isHeld()) throw new Error('the batch is not ours any more')
  record(context, batch)
}

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
  const alone = process.env.PROVE_SPAWN_ALONE === 'yes'
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
          load: helped && !alone ? load : { ...load, processorsMax: 1 },
        },
      )
}
