// A client and observer of the node in the same network namespace, which it reaches over loopback and which no fault cuts off.
//
//     node net-client.mjs NODE WORKERS PACE_MS KEYS      commands: a line each on standard input; records: JSON lines on standard output
//
// It publishes keyed events, each worker one after the other, and repeats an event under the same id until it is acknowledged. Times
// are of CLOCK_MONOTONIC in ms, one clock for all processes of the host. What each record means: history.ts.
import { Agent, request } from 'node:http'
import { createInterface } from 'node:readline'

const [node, workers, paceMs, keys] = process.argv.slice(2)
const agent = new Agent({ keepAlive: true, maxSockets: 64 })
const attemptMsMax = 4_000
const sampleMs = 150
const mapEverySamples = 3
const pageEvents = 1_000

const now = () => Number(process.hrtime.bigint()) / 1e6
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const say = (record) => process.stdout.write(`${JSON.stringify({ ...record, n: node })}\n`)
let isLoading = false
let isSampling = false
let load = Promise.resolve()

function call(method, path, body, limitMs) {
  return new Promise((answered, failed) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const headers = text === undefined ? {} : { 'content-type': 'application/json' }
    const asked = request({ host: '127.0.0.1', port: 8151, method, path, agent, headers }, (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        answer += chunk
      })
      response.on('end', () => {
        clearTimeout(limit)
        try {
          answered({ status: response.statusCode, body: JSON.parse(answer) })
        } catch (error) {
          failed(error)
        }
      })
      response.on('error', failed)
    })
    const limit = setTimeout(() => asked.destroy(new Error('no answer in time')), limitMs)
    asked.on('error', (error) => {
      clearTimeout(limit)
      failed(error)
    })
    asked.end(text)
  })
}

/** One attempt, as a record. What is not acknowledged may have been stored or not: the checker takes both for possible. */
async function attempt(id, key) {
  const t0 = now()
  const event = { stream: 'net', key, id, type: 'load', payload: { from: node } }
  let fate
  try {
    const { status, body } = await call('POST', '/api/events', event, attemptMsMax)
    const result = body.results?.[0]
    fate =
      result?.status === 'accepted' || result?.status === 'duplicate'
        ? { out: result.status, shard: result.shard, offset: result.offset }
        : { out: 'refused', code: result?.error?.code ?? body.code ?? String(status) }
  } catch (error) {
    fate = { out: 'unknown', code: error.code ?? error.message }
  }
  say({ k: 'op', id, key, t0, t1: now(), ...fate })
  return fate.out === 'accepted' || fate.out === 'duplicate'
}

async function work(worker) {
  for (let i = 0; isLoading; i++) {
    const key = `key-${Math.floor(Math.random() * Number(keys))}`
    const id = `${node}-${process.pid}-${worker}-${i}`
    while (isLoading && !(await attempt(id, key))) await sleep(100)
    await sleep(Number(paceMs) * (0.5 + Math.random()))
  }
}

async function sample() {
  for (let i = 0; isSampling; i++) {
    await sleep(sampleMs)
    await sampleStatus()
    if (i % mapEverySamples === 0) await sampleMap()
  }
}

async function sampleStatus() {
  const t0 = now()
  const { body } = await call('GET', '/api/cluster/status', undefined, 1_000).catch(() => ({}))
  if (body?.node === undefined) return say({ k: 'status', t0, t1: now(), isUp: false })
  say({
    k: 'status',
    t0,
    t1: now(),
    isUp: true,
    term: body.term,
    leader: body.leader_id,
    isLeader: body.is_leader,
    quorum: body.is_quorum_available,
    leaseMs: body.lease_remaining_ms,
    healthy: body.healthy_peers,
  })
}

async function sampleMap() {
  const t0 = now()
  const { body } = await call('GET', '/api/cluster/shards', undefined, 1_000).catch(() => ({}))
  if (body?.shards === undefined) return
  const shards = body.shards.toSorted?.((a, b) => a.shard - b.shard) ?? body.shards
  say({
    k: 'map',
    t0,
    t1: now(),
    epochs: shards.map((s) => s.epoch),
    owners: shards.map((s) => s.owner),
    states: shards.map((s) => s.state[0]).join(''),
  })
}

/** All that is stored, as this node reads it, and the leaders that it saw elected. */
async function read() {
  let after
  let pages = 0
  do {
    const query = new URLSearchParams({ stream: 'net', limit: String(pageEvents) })
    if (after !== undefined) query.set('after', after)
    const { status, body } = await call('GET', `/api/events?${query}`, undefined, 20_000)
    if (status !== 200 || (body.incomplete?.length ?? 0) > 0)
      throw new Error(
        `page ${pages}: HTTP ${status} ${JSON.stringify(body.incomplete ?? body).slice(0, 300)}`,
      )
    say({
      k: 'read',
      page: pages++,
      events: body.events.map((e) => [e.id, e.key, e.shard, e.offset, e.epoch]),
    })
    after = body.next_cursor
  } while (after !== undefined)
  const { body } = await call('GET', '/api/cluster/history?limit=1000', undefined, 5_000)
  for (const { event, fields } of body.events ?? [])
    if (event === 'leader.elected') say({ k: 'elected', term: fields.term, leader: fields.leader })
}

const commands = {
  load() {
    isLoading = true
    load = Promise.all(Array.from({ length: Number(workers) }, (_, worker) => work(worker)))
  },
  sample() {
    isSampling = true
    void sample()
  },
  /** Answered when no attempt is under way. */
  async rest() {
    isLoading = false
    await load
  },
  async read() {
    isSampling = false
    for (let tries = 1; ; tries++) {
      try {
        await read()
        return
      } catch (error) {
        if (tries === 5) throw error
        say({ k: 'read', page: 0, events: [], again: error.message })
        await sleep(500)
      }
    }
  },
}

for await (const command of createInterface({ input: process.stdin })) {
  try {
    await commands[command]()
    say({ k: 'done', command })
  } catch (error) {
    say({ k: 'done', command, error: error.message })
  }
}
process.exit(0)
