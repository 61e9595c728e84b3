// What somebody on the path recorded of a joining node and of data between nodes is said again to every node: nothing changes
import { connect } from 'node:net'
import { parseArgs } from 'node:util'
import { Verdict } from './lib/cluster.js'
import { GuardedCluster, type GuardedNode, isWithoutLoopbacks, type Proof } from './lib/guarded-cluster.js'
import { Load } from './lib/load.js'
import { type RecordedDatagram, type RecordedStream, Wiretap } from './lib/wiretap.js'

if (isWithoutLoopbacks('replay')) process.exit(0)
const { values } = parseArgs({ options: { times: { type: 'string' } } })
const times = Number(values.times ?? 5)
const verdict = new Verdict()

/** All that a replay could change, as every node tells it. */
async function stateOf(cluster: GuardedCluster, load: Load): Promise<string> {
  const nodes = await Promise.all(
    cluster.nodes.map(async (node) => {
      const { term, leader_id } = (await node.get('/api/cluster/status')) as {
        term: number
        leader_id: string
      }
      const members = (await node.members()).map((m) => [m.id, m.boot_id, m.status, m.lifecycle])
      const shards = (await node.shards()).map(({ shard, owner, epoch, state }) => [
        shard,
        owner,
        epoch,
        state,
      ])
      const events = (await node.readAll(load.stream)).length
      const told = (await node.history()).filter((event) => !event.startsWith('self.'))
      return { term, leader_id, members, shards, events, told }
    }),
  )
  return JSON.stringify(nodes)
}

/** Says what the dialling end said: each piece when the other end has answered what it answered then, or all at once. */
async function repeatStream(tap: Wiretap, stream: RecordedStream, isAtOnce: boolean): Promise<number> {
  const socket = connect(tap.portOf(stream.to, stream.way), stream.to.inside)
  let heard = 0
  let wake = (): void => {}
  let isOver = false
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.length
    wake()
  })
  // Being thrown out is what should happen.
  socket.on('error', () => {})
  socket.once('close', () => {
    isOver = true
    wake()
  })
  let expected = 0
  for (const { isOfDialler, bytes } of stream.chunks) {
    if (isOver) break
    if (!isOfDialler) expected += bytes.length
    else {
      while (!isAtOnce && heard < expected && !isOver) {
        const isSilent = await new Promise<boolean>((done) => {
          const timer = setTimeout(() => done(true), 300)
          wake = () => {
            clearTimeout(timer)
            done(false)
          }
        })
        if (isSilent) break
      }
      if (!isOver) socket.write(bytes)
    }
  }
  socket.end()
  await new Promise<void>((closed) => {
    const timer = setTimeout(() => socket.destroy(), 3_000)
    const end = (): void => {
      clearTimeout(timer)
      closed()
    }
    if (isOver) end()
    else socket.once('close', end)
  })
  return heard
}

async function repeatAll(
  tap: Wiretap,
  streams: readonly RecordedStream[],
  datagrams: readonly RecordedDatagram[],
): Promise<void> {
  for (const [i, datagram] of datagrams.entries()) {
    await tap.repeat(datagram)
    // A receiver's buffer holds so many; what it drops would prove nothing.
    if (i % 50 === 49) await new Promise((done) => setTimeout(done, 2))
  }
  for (const isAtOnce of [false, true])
    for (let from = 0; from < streams.length; from += 20)
      await Promise.all(streams.slice(from, from + 20).map((stream) => repeatStream(tap, stream, isAtOnce)))
}

async function prove(proof: Proof): Promise<void> {
  const tap = new Wiretap()
  const cluster = new GuardedCluster(proof, { tap })
  await cluster.start(2)
  tap.forget()
  const joined = await cluster.add()
  await cluster.untilWhole()
  const sizes = () => ({
    connections: tap.streams.length,
    bytes: tap.streams.flatMap(({ chunks }) => chunks).reduce((sum, { bytes }) => sum + bytes.length, 0),
    datagrams: tap.datagrams.length,
  })
  const ofJoin = sizes()
  const load = new Load(cluster, 'replay', { pauseMs: 20 })
  await new Promise((done) => setTimeout(done, 3_000))
  await load.stop()
  const ofAll = sizes()
  console.log(
    `     ${proof}: recorded ${ofJoin.connections} connections with ${ofJoin.bytes} bytes and ${ofJoin.datagrams} datagrams while ${joined.id} joined; then ${ofAll.bytes - ofJoin.bytes} bytes and ${ofAll.datagrams - ofJoin.datagrams} datagrams while ${load.acknowledged.size} events were published`,
  )
  const streams = [...tap.streams]
  const datagrams = [...tap.datagrams]
  verdict.check(
    `${proof}: both sessions are on record`,
    ofJoin.connections > 0 && ofJoin.datagrams > 0 && ofAll.bytes > ofJoin.bytes,
    `${streams.length} connections, ${datagrams.length} datagrams`,
  )
  const before = await stateOf(cluster, load)
  for (let i = 0; i < times; i++) await repeatAll(tap, streams, datagrams)
  await compare(
    `${proof}: said again ${times} times, two ways each: no member, boot, term, shard or event is different`,
    before,
  )

  // A node that has just started has seen no datagram yet.
  const restarted = cluster.nodes[0] as GuardedNode
  await restarted.kill()
  await restarted.start(cluster.nodes.slice(1))
  await cluster.untilWhole()
  const again = await stateOf(cluster, load)
  await repeatAll(tap, streams, datagrams)
  await compare(`${proof}: said again to a node that has just restarted: nothing is different`, again)

  const after = new Load(cluster, 'after')
  await new Promise((done) => setTimeout(done, 1_000))
  await after.stop()
  verdict.check(
    `${proof}: and events are taken as before`,
    after.refused === 0,
    `${after.acknowledged.size} acknowledged`,
  )
  for (const node of cluster.nodes)
    for (const each of [load, after]) {
      const difference = await each.differs(node)
      verdict.check(
        `${proof}: ${node.id} reads back "${each.stream}"`,
        difference === undefined,
        difference ?? `${each.acknowledged.size} events, once each`,
      )
    }
  tap.close()
  cluster.end()

  async function compare(what: string, earlier: string): Promise<void> {
    const now = await stateOf(cluster, load)
    verdict.check(
      what,
      now === earlier,
      now === earlier ? `${now.length} bytes of state compared` : difference(earlier, now),
    )
  }
}

function difference(a: string, b: string): string {
  let at = 0
  while (a[at] === b[at]) at++
  return `…${a.slice(Math.max(0, at - 120), at + 120)}… became …${b.slice(Math.max(0, at - 60), at + 180)}…`
}

await prove('cookie')
await prove('certificates')
verdict.end()
