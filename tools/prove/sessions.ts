// kill -9 of the node under 1,000 connected clients while messages flow: all back within 5 s, none misses a message, none gets one twice
import { SkeinClient } from '../../dist/client/index.js'
import { json, ProcessCluster, type ProcessNode, sleep, until, Verdict } from './lib/cluster.js'

const clientCount = Number(process.argv[2] ?? 1_000)
const kills = Number(process.argv[3] ?? 3)
const roomCount = Math.max(2, Math.round(clientCount / 50))
const roomsEach = 2
/** Of each kind of speaker, over all rooms. */
const perSecond = 20
const backWithinMs = 5_000

interface Told {
  readonly position: number
  readonly id: string
}

/** One client with what it was told, room by room. */
class Listener {
  readonly client: SkeinClient
  readonly rooms: readonly string[]
  readonly told = new Map<string, Told[]>()
  readonly since = new Map<string, number>()
  connectedAtMs = 0
  /** The first message over the connection that it has now. */
  heardAtMs = 0
  sessions = new Set<string>()

  constructor(index: number, addresses: readonly string[]) {
    this.rooms = Array.from({ length: roomsEach }, (_, i) => `chat/${(index + i * 7) % roomCount}`)
    this.client = new SkeinClient({ addresses, user: `user-${index}`, requestTimeoutMs: 60_000 })
    this.client.on('connected', ({ session }) => {
      this.sessions.add(session)
      this.connectedAtMs = performance.now()
      this.heardAtMs = 0
    })
    this.client.on('message', ({ room, position = 0, id, from }) => {
      if (this.heardAtMs === 0) this.heardAtMs = performance.now()
      this.told.get(room)?.push({ position, id: `${from.session ?? `@${from.node}`} ${id}` })
    })
  }

  async join(): Promise<void> {
    for (const room of this.rooms) {
      this.told.set(room, [])
      this.since.set(room, (await this.client.join(room)).position as number)
    }
  }
}

const verdict = new Verdict()
const cluster = new ProcessCluster(['--room-history', 'chat/'])
await cluster.start(3)
const first = cluster.nodes[1] as ProcessNode

const listeners: Listener[] = []
const rampMs = performance.now()
for (let i = 0; i < clientCount; i += 50) {
  const part = Array.from(
    { length: Math.min(50, clientCount - i) },
    (_, n) => new Listener(i + n, [first.http]),
  )
  listeners.push(...part)
  await Promise.all(part.map((each) => each.join()))
}
console.log(
  `     ${clientCount} clients on ${first.id}, each in ${roomsEach} of ${roomCount} rooms, after ${(performance.now() - rampMs).toFixed(0)} ms`,
)

// Half of the messages come from the clients themselves, whose node is killed; half from outside, through whoever answers.
const acknowledged = new Map<string, string[]>(Array.from({ length: roomCount }, (_, i) => [`chat/${i}`, []]))
let isOver = false
let refused = 0
const pending = new Set<Promise<void>>()
const speak = (room: string, say: () => Promise<string>): void => {
  const one = say().then(
    (id) => void acknowledged.get(room)?.push(id),
    () => void refused++,
  )
  pending.add(one)
  void one.finally(() => pending.delete(one))
}
let spoken = 0
const speaking = (async () => {
  const startMs = performance.now()
  while (!isOver) {
    const due = ((performance.now() - startMs) * perSecond) / 1_000
    for (; spoken < due; spoken++) {
      const listener = listeners[(spoken * 13) % clientCount] as Listener
      const own = listener.rooms[0] as string
      const { client } = listener
      speak(own, async () => `${client.session} ${(await client.broadcast(own, { n: spoken })).id}`)
      const room = `chat/${spoken % roomCount}`
      const id = `m${spoken}`
      speak(room, () => post(room, id))
    }
    await sleep(10)
  }
})()

/** Through one node; the sender is that node, so that another node is another sender. */
async function post(room: string, id: string): Promise<string> {
  const running = cluster.nodes.filter((n) => n.isRunning && n.facts !== undefined)
  const node = running[spoken % running.length] as ProcessNode
  const response = await fetch(`http://${node.http}/api/rooms/${encodeURIComponent(room)}/broadcast`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ data: 'from outside', id }),
    signal: AbortSignal.timeout(10_000),
  })
  if (response.status !== 202) throw new Error(`HTTP ${response.status}`)
  return `@${node.id} ${id}`
}

const percentile = (list: readonly number[], share: number): number => {
  const sorted = list.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

for (let round = 1; round <= kills; round++) {
  await sleep(2_000)
  const on = new Map<string, number>()
  for (const { client } of listeners) on.set(client.node, (on.get(client.node) ?? 0) + 1)
  const victim = cluster.nodes.toSorted((a, b) => (on.get(b.id) ?? 0) - (on.get(a.id) ?? 0))[0] as ProcessNode
  const lost = listeners.filter(({ client }) => client.node === victim.id)
  const killMs = performance.now()
  await victim.kill()
  await until(
    () => lost.every((l) => l.connectedAtMs > killMs && l.heardAtMs > 0),
    30_000,
    'all clients to be back and to hear',
  )
  const connected = lost.map((l) => l.connectedAtMs - killMs)
  const heard = lost.map((l) => l.heardAtMs - killMs)
  console.log(
    `     kill ${round}: ${victim.id} with ${lost.length} clients; connected again p50 ${percentile(connected, 0.5).toFixed(0)} ms, last ${percentile(connected, 1).toFixed(0)}; first message p50 ${percentile(heard, 0.5).toFixed(0)}, last ${percentile(heard, 1).toFixed(0)}`,
  )
  verdict.within(
    `kill ${round}: all connected, in their rooms and hearing`,
    percentile(heard, 1),
    backWithinMs,
  )
  await victim.start()
  await until(() => cluster.isWhole(), 30_000, 'the cluster to be whole')
}

await sleep(1_000)
isOver = true
await speaking
await Promise.all(pending)

/** What the journal says was said. */
const said = new Map<string, Told[]>()
for (const room of acknowledged.keys()) {
  const list: Told[] = []
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page = (await json(
      cluster.nodes[0]?.http as string,
      `/api/rooms/${encodeURIComponent(room)}/history?limit=1000&after=${after}`,
      10_000,
    )) as {
      messages: { id: string; position: number; from: { session?: string; node?: string } }[]
      next_after?: number
    }
    for (const { id, position, from } of page.messages)
      list.push({ position, id: `${from.session ?? `@${from.node}`} ${id}` })
    after = page.next_after
  }
  said.set(room, list)
}

const expectedOf = (l: Listener, room: string): Told[] =>
  (said.get(room) as Told[]).filter(({ position }) => position > (l.since.get(room) as number))
await until(
  () =>
    listeners.every((l) =>
      l.rooms.every((room) => (l.told.get(room)?.length ?? 0) >= expectedOf(l, room).length),
    ),
  10_000,
  'the last messages',
).catch(() => 0)

let deliveries = 0
let missed = 0
let twice = 0
let disordered = 0
for (const l of listeners)
  for (const room of l.rooms) {
    const told = l.told.get(room) as Told[]
    const expected = expectedOf(l, room)
    deliveries += told.length
    const seen = new Set(told.map(({ position }) => position))
    missed += expected.filter(({ position }) => !seen.has(position)).length
    twice += told.length - seen.size
    disordered += told.filter(({ position }, i) => i > 0 && position < (told[i - 1] as Told).position).length
  }
const everything = [...said.values()].flat()
const stored = new Set(everything.map(({ id }) => id))
const acks = [...acknowledged.values()].flat()
console.log(
  `     ${spoken * 2} messages said, ${acks.length} acknowledged, ${refused} refused, ${everything.length} stored; ${deliveries} deliveries`,
)
const sessions = listeners.reduce((sum, l) => sum + l.sessions.size, 0)
verdict.check('no client misses a message', missed === 0, `${missed} missed of ${deliveries}`)
verdict.check('no client gets one twice', twice === 0, `${twice} twice`)
verdict.check('all in order', disordered === 0, `${disordered} out of order`)
verdict.check(
  'all that was acknowledged is there',
  acks.every((id) => stored.has(id)),
  `${acks.length} acknowledged`,
)
verdict.check(
  'nothing is stored twice',
  stored.size === everything.length,
  `${everything.length - stored.size} twice`,
)
verdict.check(
  'every session went on',
  sessions === clientCount,
  `${sessions} sessions of ${clientCount} clients`,
)
for (const { client } of listeners) client.close()
verdict.end()
