/** Who sees whom: what this node sees of the others, and what each of them says that it sees. */
import type { FrameTransport } from '../ports/transport.js'
import { meshFrames, pack, unpack } from './mesh-frames.js'
import type { SkeinNode } from './node-api.js'
import type { Roster } from './roster.js'

const askTimeoutMs = 800

export class Sight {
  private readonly nodeId: string
  private readonly roster: Roster
  private readonly mesh: FrameTransport

  constructor(nodeId: string, roster: Roster, mesh: FrameTransport) {
    this.nodeId = nodeId
    this.roster = roster
    this.mesh = mesh
  }

  own() {
    return this.roster
      .list()
      .filter((v) => !v.isSelf && v.kind === 'node')
      .map((v) => ({ nodeId: v.id, status: v.observed, rttMs: v.rttMs, missedProbes: v.missedProbes }))
  }

  /** One row of each node; of one that does not answer, why, and how old what is known of it is. */
  async all(): ReturnType<SkeinNode['cluster']['reachability']> {
    const others = this.roster.list().filter((v) => !v.isSelf && v.kind === 'node')
    const rows = others.map(async (v) => {
      try {
        const body = await this.mesh.request(v.peerAddress, meshFrames.sight, pack(null), {
          timeoutMs: askTimeoutMs,
        })
        return { observer: v.id, ageMs: 0, sees: unpack(body) as ReturnType<Sight['own']> }
      } catch (error) {
        return {
          observer: v.id,
          error: error instanceof Error ? error.message : String(error),
          ageMs: v.lastSeenMs === 0 ? 0 : Date.now() - v.lastSeenMs,
          sees: [],
        }
      }
    })
    return [{ observer: this.nodeId, ageMs: 0, sees: this.own() }, ...(await Promise.all(rows))]
  }
}
