/** The thread of one agent: loads the module that defines its kind and runs its handlers. */
import { parentPort, workerData } from 'node:worker_threads'
import { SkeinError } from '../../core/kernel/error.js'
import { type AgentReach, InlineBody } from './body.js'
import { definitionsOf } from './definition.js'
import { packData } from './packing.js'
import { errorOf, wireError } from './worker-body.js'
import type { FromWorker, ToWorker, WorkerSetup } from './worker-messages.js'

const port = parentPort
if (port === null) throw new Error('agent-worker must be started as a worker')
const { module, facts } = workerData as WorkerSetup
const tell = (message: FromWorker): void => port.postMessage(message)

const reaching = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
let ids = 0
const reachFor = (what: 'publish' | 'call', args: readonly unknown[]): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const id = ++ids
    reaching.set(id, { resolve, reject })
    tell({ type: 'reach', id, what, args })
  })

const reach: AgentReach = {
  publish: async (stream, event) => {
    await reachFor('publish', [stream, event])
  },
  call: (name, method, args) => reachFor('call', [name, method, args]),
  every: (everyMs, step) => tell({ type: 'every', everyMs, step }),
  complete: (detail) => tell({ type: 'complete', detail }),
  log: (level, event, fields) => tell({ type: 'log', level, event, fields }),
}

const body = (async () => {
  const definition = definitionsOf(await import(module)).find((d) => d.kind === facts.kind)
  if (definition === undefined)
    throw new SkeinError('not_found', `${module} exports no agents of kind "${facts.kind}"`)
  return new InlineBody(definition, facts, reach)
})()
body.catch(() => {
  // Told with the answer to `start`, which is always asked.
})

port.on('message', (message: ToWorker) => {
  if (message.type === 'abort') void body.then((b) => b.abort())
  else if (message.type === 'reached') {
    const asked = reaching.get(message.id)
    reaching.delete(message.id)
    if (message.error === null) asked?.resolve(message.value)
    else asked?.reject(errorOf(message.error))
  } else void run(message)
})

async function run(message: Exclude<ToWorker, { type: 'abort' | 'reached' }>): Promise<void> {
  let state: Uint8Array | undefined
  try {
    const b = await body
    let result = packData(null, 'nothing')
    try {
      if (message.type === 'start') await b.start(message.state)
      else if (message.type === 'call') result = await b.call(message.method, message.args)
      else if (message.type === 'step') await b.step(message.step)
      else await b.stop(message.why)
    } finally {
      state = b.state()
    }
    tell({ type: 'done', id: message.id, result, state })
  } catch (error) {
    tell({ type: 'failed', id: message.id, error: wireError(error), state })
  }
}
