/**
 * A cluster of many nodes that never stands still, as its HTTP answers only: enough for the real dashboard, and no more. Every answer goes through the
 * schema that the real routes promise, so that this picture cannot drift from them.
 */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { z } from 'zod'
import { type AgentJson, agentListSchema } from '../../../src/http/agent-contract.js'
import * as contract from '../../../src/http/contract.js'
import { StaticFiles } from '../../../src/http/static-files.js'

type NodeJson = contract.NodeJson
type FeedEventJson = contract.FeedEventJson
type ShardJson = contract.SnapshotJson['shards'][number]

const shardCount = 256
const agentCount = 2_000
const historyMax = 500
const samplesMax = 100
const tickMs = 1_000
/** At a time. */
const unwellMax = 12

export class Crowd {
  readonly nodes: NodeJson[]
  private readonly shards: ShardJson[]
  private readonly agents: AgentJson[]
  private readonly history: FeedEventJson[] = []
  private readonly samples: { at: string; values: ReadonlyMap<string, NodeJson> }[] = []
  private readonly watchers = new Set<ServerResponse>()
  private readonly files = new StaticFiles()
  private readonly server: Server
  private timer: NodeJS.Timeout | undefined
  private seq = 0
  private term = 1
  private leader = 0
  private tick = 0
  private random = 1
  url = ''

  constructor(count: number) {
    const startedAt = new Date(Date.now() - 3_600_000).toISOString()
    this.nodes = Array.from({ length: count }, (_, i) => nodeOf(i, startedAt))
    this.shards = Array.from({ length: shardCount }, (_, shard) => ({
      shard,
      epoch: 1,
      owner: this.nodes[shard % count]?.id ?? null,
      target: null,
      state: 'open' as const,
    }))
    this.agents = Array.from({ length: agentCount }, (_, i) => agentOf(i, this.nodes[i % count]?.id ?? null))
    for (let i = 0; i < 60; i++) this.turn()
    this.server = createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://crowd')
      this.answer(pathname, response).catch((error: unknown) => {
        response.writeHead(500, { 'content-type': 'application/problem+json' })
        response.end(JSON.stringify({ status: 500, title: 'drifted', detail: String(error) }))
        this.trouble.push(`${pathname}: ${String(error)}`)
      })
    })
  }

  /** Answers that the schemas refused. */
  readonly trouble: string[] = []

  async start(dashboard: string): Promise<void> {
    await this.files.load(dashboard)
    await new Promise<void>((up) => this.server.listen(0, '127.0.0.1', () => up()))
    const host = `127.0.0.1:${(this.server.address() as AddressInfo).port}`
    this.url = `http://${host}/`
    const self = this.nodes[0] as NodeJson
    self.address = host
    this.timer = setInterval(() => this.turn(), tickMs)
  }

  stop(): void {
    clearInterval(this.timer)
    for (const watcher of this.watchers) watcher.destroy()
    this.server.closeAllConnections()
    this.server.close()
  }

  /** Every node's figures change, a few nodes change their state, now and then the leader does; shards move. */
  private turn(): void {
    this.tick++
    const now = new Date().toISOString()
    for (const [index, node] of this.nodes.entries()) {
      node.cpu_usage = round(50 + 40 * Math.sin((this.tick + index) / 9) + this.next() * 8)
      node.memory_usage = round(40 + 20 * Math.sin((this.tick + index * 3) / 40))
      node.events_per_second = node.status === 'offline' ? 0 : round(60 + this.next() * 80)
      node.rtt_ms = index === 0 ? 0 : round(0.3 + this.next() * 4)
      node.skew_ms = index === 0 ? 0 : round((this.next() - 0.5) * 30)
      node.loop_delay_ms = round(this.next() * 20)
      node.load_average = round(this.next() * 4)
      node.load = round(0.4 * node.cpu_usage + 0.3 * node.memory_usage)
      if (node.status !== 'offline') node.last_seen = now
    }
    for (let i = 0; i < 2; i++) this.change(1 + Math.floor(this.next() * (this.nodes.length - 1)))
    const unwell = this.nodes.findIndex(({ observed }) => observed !== 'alive')
    if (unwell !== -1 && this.next() < 0.7) this.change(unwell)
    if (this.tick % 20 === 0) this.elect()
    if (this.tick % 4 === 0) this.move()
    this.samples.push({ at: now, values: new Map(this.nodes.map((node) => [node.id, { ...node }])) })
    if (this.samples.length > samplesMax) this.samples.shift()
    const state = JSON.stringify({ status: this.status(), nodes: this.nodes })
    for (const watcher of this.watchers) watcher.write(`event: state\ndata: ${state}\n\n`)
  }

  private change(index: number): void {
    const node = this.nodes[index] as NodeJson
    const member = node.id
    const unwell = this.nodes.filter(({ observed }) => observed !== 'alive').length
    if (node.observed === 'alive' && unwell >= unwellMax) return
    if (node.observed === 'alive') {
      Object.assign(node, { observed: 'suspect', healthy: false, missed_heartbeats: 2 })
      this.tell('member.suspected', { member, observer: 'node-7', detail: '2 probes in a row unanswered' })
    } else if (node.observed === 'suspect' && this.next() < 0.4) {
      Object.assign(node, { observed: 'failed', status: 'offline', missed_heartbeats: 5 })
      this.tell('member.failed', { member, observer: 'node-7', detail: 'no answer to 5 probes' })
    } else {
      Object.assign(node, { observed: 'alive', status: 'online', healthy: true, missed_heartbeats: 0 })
      this.tell('member.recovered', { member, detail: 'it answered' })
    }
  }

  private elect(): void {
    const former = this.nodes[this.leader] as NodeJson
    Object.assign(former, { is_leader: false, role: 'worker' })
    this.leader = (this.leader + 17) % this.nodes.length
    const next = this.nodes[this.leader] as NodeJson
    Object.assign(next, { is_leader: true, role: 'leader' })
    this.tell('leader.elected', { leader: next.id, term: ++this.term, reason: 'the former one resigned' })
  }

  private move(): void {
    const shard = this.shards[Math.floor(this.next() * shardCount)] as ShardJson
    const to = this.nodes[Math.floor(this.next() * this.nodes.length)] as NodeJson
    const from = shard.owner ?? ''
    if (from === to.id) return
    shard.owner = to.id
    shard.epoch++
    for (const node of this.nodes)
      node.shards_owned = this.shards.filter(({ owner }) => owner === node.id).length
    this.tell('shards.moved', { moves: [{ from, to: to.id, shards: String(shard.shard) }], count: 1 })
  }

  private tell(event: string, fields: Record<string, unknown>): void {
    const told: FeedEventJson = {
      seq: ++this.seq,
      at: new Date().toISOString(),
      node_id: this.nodes[0]?.id ?? '',
      event,
      fields,
    }
    this.history.push(checked(contract.feedEventSchema, told))
    if (this.history.length > historyMax) this.history.shift()
    for (const watcher of this.watchers)
      watcher.write(`event: feed\nid: crowd:${told.seq}\ndata: ${JSON.stringify(told)}\n\n`)
  }

  private async answer(path: string, response: ServerResponse): Promise<void> {
    if (path === '/api/cluster/watch') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      response.write(`event: snapshot\nid: crowd:${this.seq}\ndata: {}\n\n`)
      this.watchers.add(response)
      response.on('close', () => this.watchers.delete(response))
      return
    }
    const body = this.bodyOf(path)
    if (body !== undefined) {
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(JSON.stringify(body))
      return
    }
    const file = await this.files.read(path)
    if (file === undefined) {
      response.writeHead(404, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ status: 404, title: 'Not found', detail: `The crowd has no ${path}` }))
      return
    }
    response.writeHead(200, { 'content-type': file.contentType ?? 'application/octet-stream' })
    response.end(file.body as Buffer | string)
  }

  private bodyOf(path: string): unknown {
    const { nodes, shards, agents, history } = this
    const why = /^\/api\/cluster\/nodes\/([^/]+)\/why$/.exec(path)
    if (why !== null) return this.whyOf(why[1] ?? '')
    switch (path) {
      case '/api/auth':
        return checked(contract.identitySchema, {
          required: false,
          name: 'local',
          role: 'admin',
          via: 'local',
          expires_at: null,
        })
      case '/api/cluster/status':
        return this.status()
      case '/api/cluster/nodes':
        return checked(contract.nodeListSchema, { nodes, count: nodes.length, total: nodes.length })
      case '/api/cluster/shards':
        return checked(contract.shardListSchema, { shards, count: shards.length, owners: [] })
      case '/api/cluster/history':
        return checked(contract.historySchema, { events: history, count: history.length })
      case '/api/cluster/operations':
        return checked(contract.operationListSchema, { operations: [], count: 0 })
      case '/api/cluster/samples':
        return this.sampled()
      case '/api/cluster/reachability':
        return this.sights()
      case '/api/cluster/peers':
        return checked(contract.peerListSchema, { peers: [], count: 0 })
      case '/api/cluster/clock':
        return checked(contract.clockSchema, {
          now: '0'.repeat(24),
          time: new Date().toISOString(),
          skew_ms_max: 500,
          refused_count: 0,
          nodes: nodes.map(({ id, skew_ms }) => ({ node_id: id, skew_ms })),
          count: nodes.length,
        })
      case '/api/cluster/stats':
        return checked(contract.statsSchema, statsOf(nodes, agents.length))
      case '/api/agents':
        return checked(agentListSchema, { agents, count: agents.length, total: agents.length })
      default:
        return undefined
    }
  }

  private status(): contract.ClusterStatusJson {
    const { nodes } = this
    const others = nodes.slice(1)
    const leader = nodes[this.leader] as NodeJson
    const engine = { driver: 'crowd', identity: 'crowd', ok: true, detail: '' }
    const count = (observed: string): number => others.filter((each) => each.observed === observed).length
    return checked(contract.clusterStatusSchema, {
      cluster_name: `${nodes.length}-nodes`,
      node: nodes[0] as NodeJson,
      leader: { node_id: leader.id, address: leader.address, is_self: this.leader === 0 },
      leader_id: leader.id,
      term: this.term,
      is_leader: this.leader === 0,
      is_quorum_available: true,
      is_degraded: true,
      is_cluster_mode: true,
      total_peers: others.length,
      healthy_peers: count('alive'),
      suspected_peers: count('suspect'),
      down_peers: count('failed'),
      nodes_by_status: { online: nodes.length },
      shards_open: shardCount,
      shards_total: shardCount,
      store: engine,
      journal: engine,
      lease_remaining_ms: 4_000,
      events_per_second: nodes.reduce((sum, each) => sum + each.events_per_second, 0),
      format_level: 1,
      data_dir: '/',
      time: new Date().toISOString(),
    })
  }

  private whyOf(id: string): unknown {
    const node = this.nodes.find((each) => each.id === id)
    if (node === undefined) return undefined
    const evidence = this.history
      .filter(({ fields }) => fields.member === id)
      .map(({ at, event, fields }) => ({
        at,
        kind: event,
        observer: 'node-7',
        detail: String(fields.detail),
        observer_health: 0,
      }))
    return checked(contract.whySchema, {
      node_id: id,
      summary: `${id} is ${node.observed}`,
      observer: this.nodes[0]?.id ?? '',
      observer_health: 0,
      evidence,
      count: evidence.length,
      node,
    })
  }

  private sampled(): unknown {
    const figures = [
      'cpu_usage',
      'memory_usage',
      'agents',
      'shards_owned',
      'events_per_second',
      'rtt_ms',
      'skew_ms',
      'loop_delay_ms',
    ] as const
    const nodes = this.nodes.map(({ id }) => ({
      node_id: id,
      ...Object.fromEntries(
        figures.map((name) => [name, this.samples.map(({ values }) => values.get(id)?.[name] ?? null)]),
      ),
    }))
    return checked(contract.samplesSchema, {
      period_ms: 6_000,
      times: this.samples.map(({ at }) => at),
      nodes: nodes as contract.SamplesJson['nodes'],
      count: nodes.length,
    })
  }

  private sights(): unknown {
    const reachability = this.nodes.map((observer) => {
      if (observer.observed === 'failed')
        return { observer: observer.id, error: 'no answer within 2 s', age_ms: 12_000, sees: [] }
      const sees = this.nodes.flatMap((node) =>
        node === observer
          ? []
          : [
              {
                node_id: node.id,
                status: node.observed,
                rtt_ms: round((node.zone === observer.zone ? 0.3 : 4) + this.next() * 1.5),
                missed_heartbeats: 0,
              },
            ],
      )
      return { observer: observer.id, age_ms: 0, sees }
    })
    return checked(contract.reachabilitySchema, { reachability, count: reachability.length })
  }

  /** 0 to 1, the same in every run. */
  private next(): number {
    this.random = (this.random * 48_271) % 2_147_483_647
    return this.random / 2_147_483_647
  }
}

function checked<S extends z.ZodType>(schema: S, value: z.input<S>): z.output<S> {
  return schema.parse(value)
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}

function nodeOf(index: number, startedAt: string): NodeJson {
  const id = `node-${index + 1}`
  return {
    id,
    hostname: `host-${index + 1}`,
    address: `10.0.${index >> 8}.${index & 255}:8151`,
    peer_address: `10.0.${index >> 8}.${index & 255}:6745`,
    role: index === 0 ? 'leader' : 'worker',
    status: 'online',
    healthy: true,
    is_leader: index === 0,
    lifecycle: 'active',
    active_agents: 10,
    agents: 10,
    max_agents: 32,
    capacity: 0.68,
    load: 20,
    cpu_usage: 20,
    memory_usage: 30,
    disk_usage: 40,
    load_average: 1,
    process_cpu: 12,
    process_memory_mib: 180,
    network_position: null,
    services: [],
    labels: {},
    zone: `zone-${(index % 4) + 1}`,
    region: 'eu',
    uptime: '1h0m0s',
    last_seen: startedAt,
    last_heartbeat: startedAt,
    started_at: startedAt,
    version: '0.1.0',
    incarnation: 1,
    boot_id: `boot-${index}`,
    stalled: false,
    kind: 'node',
    shards_owned: 1,
    events_per_second: 60,
    cordoned: false,
    observed: 'alive',
    evicted: false,
    is_self: index === 0,
    missed_heartbeats: 0,
    rtt_ms: 1,
    skew_ms: 0,
    loop_delay_ms: 1,
    unconfirmed_events: 0,
  }
}

function agentOf(index: number, nodeId: string | null): AgentJson {
  const at = new Date(Date.now() - 600_000).toISOString()
  return {
    name: `agent-${index + 1}`,
    kind: index % 3 === 0 ? 'process' : 'counter',
    status: 'running',
    detail: '',
    node_id: nodeId,
    target: null,
    epoch: 1,
    assigned_at: at,
    created_at: at,
    started_at: at,
    placed_by: 'least_loaded',
    strategy: null,
    services: [],
    constraints: {},
    restart: {
      mode: 'always',
      backoff_min_ms: 100,
      backoff_max_ms: 10_000,
      tries_max: 10,
      window_ms: 60_000,
    },
    command: null,
    args: [],
    env: [],
    cwd: null,
    config: null,
    restarts: index % 5,
    pid: 0,
    calls: 0,
    waiting_calls: 0,
    turn_ms: 0,
  }
}

function statsOf(nodes: readonly NodeJson[], agents: number): z.input<typeof contract.statsSchema> {
  return {
    local_node: nodes[0]?.id ?? '',
    is_leader: false,
    total_assignments: agents,
    registry: {
      total_nodes: nodes.length,
      healthy_nodes: nodes.length,
      online_nodes: nodes.length,
      total_agents: agents,
      max_agents: nodes.length * 32,
      utilization_pct: 30,
      nodes_by_role: { worker: nodes.length },
      nodes_by_status: { online: nodes.length },
    },
    balancer: { strategy: 'least_loaded', round_robin_index: 0 },
  }
}
