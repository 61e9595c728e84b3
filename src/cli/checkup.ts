/** What a node that runs says of itself and of its cluster, as findings of `doctor`: each that is not well says what to do. */
import { version } from '../core/version.js'
import type { ClusterStatusJson, NodeJson } from '../http/contract.js'
import { type ClientOptions, call, exchange } from './client.js'
import { CliFailure, exitCodes } from './exit.js'

export interface Finding {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  /** Empty when it is well. */
  readonly fix: string
}

interface Clock {
  readonly skew_ms_max: number
  readonly nodes: readonly { readonly node_id: string; readonly skew_ms: number }[]
}

export interface OwnershipJson {
  readonly alarms: readonly { readonly rule: string; readonly detail: string }[]
}

export interface FailedAgents {
  readonly agents: readonly { readonly name: string; readonly detail: string }[]
}

const failedShown = 5
/** Those that are started again no more. */
export const failedAgentsPath = `/api/agents?status=failed&limit=${failedShown}`

const loopDelayMsMax = 500
const diskPercentMax = 90
const timeoutMs = 5_000

/** `isWanted`: somebody named the address, so that a node must be there. */
export async function checkup(client: ClientOptions, isWanted: boolean): Promise<readonly Finding[]> {
  const name = 'running node'
  try {
    const { status, body } = await exchange(client, 'GET', '/api/cluster/status', undefined, timeoutMs)
    if (status === 401 || status === 403)
      return [
        finding(name, true, `one answers at ${client.addr}, and tells more to whoever has a --token`, ''),
      ]
    const cluster = body as ClusterStatusJson | null
    if (status !== 200 || typeof cluster?.node !== 'object')
      return [
        finding(
          name,
          false,
          `${client.addr} answers, but not as a node that has joined`,
          'see its log; skein status',
        ),
      ]
    return await ofCluster(client, cluster)
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error
    if (error.exitCode === exitCodes.unreachable && !isWanted)
      return [finding(name, true, `none at ${client.addr}; this is what one would find`, '')]
    return [
      finding(
        name,
        false,
        error.message,
        'start it, or give another --addr; https://HOST:PORT where it serves HTTPS',
      ),
    ]
  }
}

async function ofCluster(client: ClientOptions, status: ClusterStatusJson): Promise<readonly Finding[]> {
  const [{ nodes }, clock, ownership, failed] = (await Promise.all(
    ['/api/cluster/nodes', '/api/cluster/clock', '/api/cluster/ownership', failedAgentsPath].map((path) =>
      call(client, 'GET', path, undefined, timeoutMs),
    ),
  )) as [{ nodes: readonly NodeJson[] }, Clock, OwnershipJson, FailedAgents]
  return [
    ofNode(status),
    ...findingsOf(status, nodes),
    ofClock(clock),
    ofAgents(failed),
    ofOwnership(ownership),
  ]
}

/** What two answers of a node tell of its cluster. */
export function findingsOf(status: ClusterStatusJson, nodes: readonly NodeJson[]): readonly Finding[] {
  return [
    ofVersions(nodes),
    ofLeader(status),
    ofEngine('store of the cluster', status.store, 'see docs/OPERATIONS.md, "When something breaks"'),
    ofEngine(
      'journal of the cluster',
      status.journal,
      'free space, restore the file it names, or see to the server of --journal',
    ),
    ofMembers(nodes),
    ofThreads(nodes),
    ofDisks(nodes),
  ]
}

function ofNode({ node, lease_remaining_ms, cluster_name }: ClusterStatusJson): Finding {
  const isWell = node.lifecycle !== 'joining' && lease_remaining_ms > 0
  return finding(
    'running node',
    isWell,
    `${node.id} of cluster ${cluster_name}, ${node.lifecycle} for ${node.uptime}, its lease ${lease_remaining_ms > 0 ? 'holds' : 'has ended'}`,
    'a node without a lease serves nothing: see the store below, and its log for lease.lost',
  )
}

function ofVersions(nodes: readonly NodeJson[]): Finding {
  const running = [
    ...new Set(nodes.filter((n) => n.kind === 'node' && n.status !== 'offline').map((n) => n.version)),
  ]
  return finding(
    'versions of the cluster',
    running.length <= 1,
    `${running.join(', ')}; this command is ${version}`,
    'finish the upgrade: restart the nodes of the older version one by one, each when the one before is back',
  )
}

function ofLeader({ leader_id, term, is_quorum_available }: ClusterStatusJson): Finding {
  const words = `${leader_id ?? 'nobody'} leads, term ${term}; the store ${is_quorum_available ? 'answers' : 'DOES NOT ANSWER'}`
  return finding(
    'leader and quorum',
    leader_id !== null && is_quorum_available,
    words,
    is_quorum_available
      ? 'wait a few seconds; nobody can lead when all nodes are standbys, replicas, draining or stalled: skein nodes ls'
      : 'bring the store back: its disk, its lock, its servers; until then nothing is acknowledged',
  )
}

function ofEngine(name: string, engine: ClusterStatusJson['store'], fix: string): Finding {
  const { ok, driver, detail } = engine
  return finding(name, ok, detail === '' ? driver : `${driver}: ${detail}`, fix)
}

function ofMembers(nodes: readonly NodeJson[]): Finding {
  const unwell = nodes.filter((node) => !node.healthy)
  const words = unwell.map(
    (n) => `${n.id} is ${n.stalled ? 'stalled' : n.observed === 'alive' ? n.status : n.observed}`,
  )
  return finding(
    'members',
    unwell.length === 0,
    unwell.length === 0 ? `all ${nodes.length} are well` : words.join(', '),
    `${unwell.map((n) => `skein nodes why ${n.id}`).join('; ')}; skein nodes remove forgets one that is gone for good`,
  )
}

function ofClock({ nodes, skew_ms_max }: Clock): Finding {
  const worst = nodes.reduce((most, n) => (Math.abs(n.skew_ms) > Math.abs(most.skew_ms) ? n : most), {
    node_id: '',
    skew_ms: 0,
  })
  const isOk = Math.abs(worst.skew_ms) <= skew_ms_max
  return finding(
    'clocks of the cluster',
    isOk,
    worst.node_id === ''
      ? 'in step'
      : `${worst.node_id} is off most: ${worst.skew_ms.toFixed(0)} ms of ${skew_ms_max}`,
    `let NTP keep the clock of ${worst.node_id}: its timestamps are refused`,
  )
}

function ofThreads(nodes: readonly NodeJson[]): Finding {
  const slow = nodes.filter((n) => n.loop_delay_ms > loopDelayMsMax)
  return finding(
    'main threads',
    slow.length === 0,
    slow.length === 0
      ? 'they turn'
      : slow.map((n) => `${n.id} was held up for ${Math.round(n.loop_delay_ms)} ms`).join(', '),
    'find the loop in your code that does not let go: skein_eventloop_delay_p99_seconds, node --cpu-prof',
  )
}

function ofDisks(nodes: readonly NodeJson[]): Finding {
  const full = nodes.filter((n) => n.disk_usage > diskPercentMax)
  return finding(
    'disks of the cluster',
    full.length === 0,
    full.length === 0
      ? `none is fuller than ${diskPercentMax} %`
      : full.map((n) => `${n.id}: ${Math.round(n.disk_usage)} % full`).join(', '),
    'free some space or shorten --retention-hours: a full disk refuses every event',
  )
}

export function ofAgents({ agents }: FailedAgents): Finding {
  const names = agents.map(({ name, detail }) => `${name} has failed: ${detail}`)
  return finding(
    'agents',
    agents.length === 0,
    agents.length === 0
      ? 'none has failed'
      : `${names.join('; ')}${agents.length === failedShown ? '; perhaps more' : ''}`,
    'skein agents logs and skein agents why say more; skein agents restart begins anew, skein agents stop forgets it',
  )
}

export function ofOwnership({ alarms }: OwnershipJson): Finding {
  return finding(
    'ownership',
    alarms.length === 0,
    alarms.length === 0
      ? 'the auditor found nothing wrong'
      : alarms.map((a) => `${a.rule}: ${a.detail}`).join('; '),
    'this is what correct code cannot do: keep the logs and the journal, and report it with /api/cluster/ownership',
  )
}

function finding(name: string, ok: boolean, detail: string, fix: string): Finding {
  return { name, ok, detail, fix: ok ? '' : fix }
}
