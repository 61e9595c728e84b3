/** The audit logs of the cluster as one: each node writes its own, any of them reads all. */
import { SkeinError } from '../core/kernel/error.js'
import type { FrameTransport } from '../ports/transport.js'
import type { AuditLog } from './audit-log.js'
import { meshFrames, pack, unpack } from './mesh-frames.js'
import type { AuditEntry, AuditPage, NodeView, SkeinNode } from './node-api.js'

const askTimeoutMs = 2_000
const entriesMax = 1_000

interface AuditParts {
  readonly nodeId: string
  readonly log: AuditLog
  readonly mesh: FrameTransport
  /** The other nodes that can be asked. */
  readonly others: () => readonly Pick<NodeView, 'id' | 'peerAddress'>[]
}

export class Audit {
  private readonly parts: AuditParts

  constructor(parts: AuditParts) {
    this.parts = parts
  }

  readonly record: SkeinNode['audit']['record'] = (input) => this.parts.log.record(input)

  readonly read: SkeinNode['audit']['read'] = async ({ limit, after }): Promise<AuditPage> => {
    const { nodeId, log, others } = this.parts
    const wanted = Math.min(limit, entriesMax)
    // One more than asked for, from everybody: so that it is known whether more follow.
    const asked = others().map(async ({ id, peerAddress }) => {
      try {
        return { id, entries: await this.ask(peerAddress, wanted + 1, after) }
      } catch (error) {
        return { id, entries: [], error: error instanceof Error ? error.message : String(error) }
      }
    })
    const answers = [
      { id: nodeId, entries: await log.read(wanted + 1, after) },
      ...(await Promise.all(asked)),
    ]
    const all = answers
      .flatMap(({ entries }) => entries)
      .sort((a, b) => (a.hlc < b.hlc ? -1 : a.hlc > b.hlc ? 1 : 0))
    const entries = after === undefined ? all.slice(-wanted) : all.slice(0, wanted)
    const last = entries.at(-1)?.hlc
    return {
      entries,
      ...(after !== undefined && all.length > wanted && last !== undefined ? { nextCursor: last } : {}),
      incomplete: answers.flatMap((answer) =>
        'error' in answer && answer.error !== undefined ? [{ nodeId: answer.id, error: answer.error }] : [],
      ),
    }
  }

  /** A question of another node about this node's own log. */
  async answer(body: Uint8Array): Promise<Uint8Array> {
    const [limit, after] = unpack(body) as [unknown, unknown]
    if (
      !Number.isSafeInteger(limit) ||
      (limit as number) < 1 ||
      (after !== null && typeof after !== 'string')
    )
      throw new SkeinError('protocol_violation', 'a malformed question about the audit log')
    const entries = await this.parts.log.read(Math.min(limit as number, entriesMax + 1), after ?? undefined)
    return pack(entries)
  }

  private async ask(address: string, limit: number, after: string | undefined): Promise<AuditEntry[]> {
    const body = await this.parts.mesh.request(address, meshFrames.audit, pack([limit, after ?? null]), {
      timeoutMs: askTimeoutMs,
    })
    return unpack(body) as AuditEntry[]
  }
}
