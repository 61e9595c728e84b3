/** What the dashboard asks about the connections between nodes, their clocks, and who did what. Only paths and shapes of the HTTP contract. */
import type { z } from 'zod'
import type {
  AuditJson,
  clockSchema,
  peerListSchema,
  reachabilitySchema,
  routeSchema,
} from '../../src/http/contract.js'
import { getJson } from './http-client.js'

export type ReachabilityJson = z.infer<typeof reachabilitySchema>
export type SightJson = ReachabilityJson['reachability'][number]
export type ClockJson = z.infer<typeof clockSchema>
export type RouteJson = z.infer<typeof routeSchema>
export type { AuditJson }

type PeerListJson = z.infer<typeof peerListSchema>

export const auditShownMax = 500

export async function fetchReachability(): Promise<readonly SightJson[]> {
  const { reachability } = await getJson<ReachabilityJson>('api/cluster/reachability')
  return reachability
}

export async function fetchPeers(): Promise<PeerListJson['peers']> {
  const { peers } = await getJson<PeerListJson>('api/cluster/peers')
  return peers
}

export function fetchClock(): Promise<ClockJson> {
  return getJson('api/cluster/clock')
}

export function fetchRoute(key: string): Promise<RouteJson> {
  return getJson(`api/cluster/route?key=${encodeURIComponent(key)}`)
}

/** Oldest first. */
export function fetchAudit(): Promise<AuditJson> {
  return getJson(`api/audit?limit=${auditShownMax}`)
}
