/**
 * The only door to the node: relative paths of the HTTP contract, JSON in, a deadline on each request, and a problem document
 * turned into one readable sentence. Nothing here knows what the answers are for.
 */
import type {
  ClusterStatusJson,
  FeedEventJson,
  IdentityJson,
  NodeJson,
  OperationJson,
  SamplesJson,
  SnapshotJson,
  WhyJson,
} from '../../src/http/contract.js'

export type { ClusterStatusJson, FeedEventJson, IdentityJson, NodeJson, OperationJson, WhyJson }
export type ShardJson = SnapshotJson['shards'][number]

const requestTimeoutMs = 5_000
/** Moving or removing an agent is answered when it is done. */
const actionTimeoutMs = 40_000
/** Events that are asked for at once. */
export const historyLimit = 500

/** Relative to the page, so that a reverse proxy may put the node under a prefix. */
export const watchPath = 'api/cluster/watch'

export function fetchStatus(): Promise<ClusterStatusJson> {
  return getJson('api/cluster/status')
}

export async function fetchNodes(): Promise<NodeJson[]> {
  const { nodes } = await getJson<{ nodes: NodeJson[] }>('api/cluster/nodes')
  return nodes
}

export async function fetchShards(): Promise<ShardJson[]> {
  const { shards } = await getJson<{ shards: ShardJson[] }>('api/cluster/shards')
  return shards
}

/** Without what agents do. Oldest first. */
export async function fetchHistory(): Promise<FeedEventJson[]> {
  const { events } = await getJson<{ events: FeedEventJson[] }>(
    `api/cluster/history?topic=cluster&limit=${historyLimit}`,
  )
  return events.filter(({ event }) => !event.startsWith('agent.')).toSorted((a, b) => a.seq - b.seq)
}

export function fetchSamples(points: number): Promise<SamplesJson> {
  return getJson(`api/cluster/samples?points=${points}`)
}

export function fetchWhy(nodeId: string): Promise<WhyJson> {
  return getJson(`api/cluster/nodes/${encodeURIComponent(nodeId)}/why`)
}

/** Who the node takes this browser for; keeps a log-in alive. */
export function fetchIdentity(): Promise<IdentityJson> {
  return getJson('api/auth')
}

/** The cookie that comes back is the browser's affair: no script sees it. */
export async function logIn(token: string): Promise<void> {
  await postJson('api/auth/login', { token })
}

export async function logOut(): Promise<void> {
  await postJson('api/auth/logout', undefined)
}

/** The node refused, and said why. */
export class Refused extends Error {
  readonly status: number
  /** Each thing that is wrong with what was sent, where the node told them apart. */
  readonly faults: readonly Fault[]

  constructor(message: string, status: number, faults: readonly Fault[]) {
    super(message)
    this.status = status
    this.faults = faults
  }
}

export interface Fault {
  readonly field: string
  readonly allowed: string
}

/** The node wants to know who is looking. */
export class LoginNeeded extends Refused {}

export function getJson<T>(path: string): Promise<T> {
  return ask(path, { headers: { accept: 'application/json' } }, requestTimeoutMs)
}

export function postJson<T = unknown>(path: string, body?: unknown, headers: Headers = {}): Promise<T> {
  return ask(path, { method: 'POST', ...sent(body, headers) }, actionTimeoutMs)
}

export function putJson<T = unknown>(path: string, body: unknown, headers: Headers = {}): Promise<T> {
  return ask(path, { method: 'PUT', ...sent(body, headers) }, actionTimeoutMs)
}

export function deleteJson<T = unknown>(path: string): Promise<T> {
  return ask(path, { method: 'DELETE' }, actionTimeoutMs)
}

type Headers = Readonly<Record<string, string>>

function sent(body: unknown, headers: Headers): RequestInit {
  if (body === undefined) return { headers: { ...headers } }
  return { body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } }
}

async function ask<T>(path: string, init: RequestInit, timeoutMs: number): Promise<T> {
  const lost = (cause: unknown): never => {
    const isLate = cause instanceof DOMException && cause.name === 'TimeoutError'
    throw new Error(isLate ? `no answer within ${timeoutMs / 1_000} s` : 'the node does not answer', {
      cause,
    })
  }
  const response = await fetch(path, { ...init, signal: AbortSignal.timeout(timeoutMs) }).catch(lost)
  if (!response.ok) throw await refusalOf(response)
  return (await response.json().catch(lost)) as T
}

async function refusalOf(response: Response): Promise<Refused> {
  const { status } = response
  const problem = (await response.json().catch(() => null)) as Readonly<Record<string, unknown>> | null
  const said = problem?.detail ?? problem?.title
  const text = typeof said === 'string' ? `${said} (${status})` : `the node answered ${status}`
  const Kind = status === 401 ? LoginNeeded : Refused
  return new Kind(text, status, faultsIn(problem?.errors))
}

function faultsIn(errors: unknown): readonly Fault[] {
  if (!Array.isArray(errors)) return []
  return errors.flatMap((each: Partial<Fault> | null) =>
    typeof each?.field === 'string' ? [{ field: each.field, allowed: String(each.allowed) }] : [],
  )
}
