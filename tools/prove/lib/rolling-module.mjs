// Loaded by the nodes of the rolling restart: the counter, and a consumer that notes what it was given in a file
import { appendFileSync } from 'node:fs'

export { Counter } from './agents-module.mjs'

export function setup(node) {
  node.events.consume('rolling', (batch) => {
    appendFileSync(process.env.PROVE_CONSUMED, batch.map((event) => `${event.key} ${event.id}\n`).join(''))
  })
}
