/**
 * One node under the fault lab: a consumer and a leader's job that report to the lab what they do, and all ids that are
 * stored, over HTTP. Started by the adapter (`skein.mjs`), which passes everything in the environment.
 */
import { createServer } from 'node:http'
import { join } from 'node:path'
import { createNode } from '../../dist/index.js'

const { FL_NODE, FL_IP, FL_DATA, FL_RESOURCE, SKEIN_LAB, SKEIN_PEERS, SKEIN_STORE, SKEIN_JOURNAL } =
  process.env
const { trace } = await import(join(SKEIN_LAB, 'lib', 'trace.mjs'))
const writeEveryMs = 100

const node = await createNode({
  nodeId: FL_NODE,
  host: FL_IP,
  insecure: true,
  peerHost: FL_IP,
  peers: SKEIN_PEERS.split(','),
  cookie: 'a-cookie-of-the-fault-lab-only-0123456789',
  dataDir: join(FL_DATA, 'skein'),
  store: SKEIN_STORE,
  journal: SKEIN_JOURNAL,
  shards: 32,
  logLevel: 'info',
})

node.events.consume('lab', (batch, { shard, epoch, signal }) => {
  for (const { id, key, payload } of batch) {
    if (signal.aborted) throw new Error('this shard is not ours any more')
    trace('process', { id, key, shard, epoch, producer: payload.producer, seq: Number(payload.seq) })
  }
})

node.leader.whileLeading(async (term, signal) => {
  trace('lead', { term })
  while (!signal.aborted) {
    const body = JSON.stringify({ resource: 'job', token: term, node: FL_NODE, value: Date.now() })
    await fetch(FL_RESOURCE, {
      method: 'POST',
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(500)]),
    }).catch(() => undefined)
    await new Promise((done) => setTimeout(done, writeEveryMs))
  }
  trace('unlead', { term })
})

async function storedIds() {
  const ids = []
  let after
  do {
    const page = await node.events.read({
      stream: 'lab',
      limit: 1_000,
      ...(after === undefined ? {} : { after }),
    })
    if (page.incomplete.length > 0) throw new Error(`incomplete: ${page.incomplete[0].error}`)
    for (const { id } of page.events) ids.push(id)
    after = page.nextCursor
  } while (after !== undefined)
  return ids
}

createServer((_, response) => {
  storedIds().then(
    (ids) => response.end(JSON.stringify({ ids })),
    (error) => response.writeHead(500).end(JSON.stringify({ error: error.message })),
  )
}).listen(8152, FL_IP)

process.once('SIGTERM', () => void node.stop({ reason: 'SIGTERM' }))
const { reason, error } = await node.ended
console.log(`ended: ${error?.message ?? reason}`)
process.exit(error === undefined ? 0 : 1)
