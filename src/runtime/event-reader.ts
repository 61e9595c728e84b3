/**
 * Reading events back from any node. Each shard is asked of its owner, which knows how far it is confirmed; where the owner does not
 * answer, what is sealed is read here and the answer says what is missing.
 */
import type { NodeId, ShardId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import { type Seals, shardOf } from '../core/sharding/shard-map.js'
import type { Journal, Segment, StoredEvent } from '../ports/journal.js'
import type { FrameTransport } from '../ports/transport.js'
import type { DataPlane } from './data-plane.js'
import { viewOf } from './event-view.js'
import { monotonicMs } from './host-clock.js'
import { meshFrames, pack, type ReadAnswer, type ReadAsk, unpack, unpackReadAsk } from './mesh-frames.js'
import type { EventPage, EventQuery, EventView } from './node-api.js'
import { pause } from './pause.js'

/** Shards looked at together when a query names no key. */
const shardsPerRound = 64
const ownerTimeoutMs = 2_000
/** How long to wait for a shard that is changing hands. */
const ownerWaitMs = 3_000

export interface ReaderWorld {
  readonly plane: DataPlane
  readonly journal: Journal
  readonly mesh: FrameTransport
  peerAddress(nodeId: NodeId): string | undefined
  seals(shards: readonly ShardId[]): Promise<readonly (readonly [ShardId, Seals])[]>
}

interface ShardPart {
  readonly shard: ShardId
  readonly events: readonly StoredEvent[]
  readonly scannedTo: number
  readonly end: boolean
  readonly error?: string
}

export class EventReader {
  private readonly world: ReaderWorld

  constructor(world: ReaderWorld) {
    this.world = world
  }

  async read(query: EventQuery): Promise<EventPage> {
    const { plane } = this.world
    const limit = query.limit ?? 100
    const cursor = decodeCursor(query.after)
    const shards =
      query.key === undefined
        ? Array.from({ length: plane.shards }, (_, i) => i)
        : [shardOf(query.key, plane.shards)]
    const events: EventView[] = []
    const incomplete: { shard: ShardId; error: string }[] = []
    let from = shards.findIndex((s) => s >= (cursor?.shard ?? 0))
    let after = cursor !== undefined && shards[from] === cursor.shard ? cursor.offset : 0
    if (from < 0) return { events, incomplete }
    while (from < shards.length) {
      const round = shards.slice(from, from + shardsPerRound)
      const wanted = round.map((shard, i): [ShardId, number] => [shard, i === 0 ? after : 0])
      for (const part of await this.readRound(wanted, limit - events.length, query)) {
        if (part.error !== undefined) incomplete.push({ shard: part.shard, error: part.error })
        const room = limit - events.length
        events.push(...part.events.slice(0, room).map(viewOf))
        if (part.events.length > room || !part.end || events.length === limit) {
          const last =
            part.events.length > room
              ? (part.events[room - 1]?.offset ?? (part.shard === round[0] ? after : 0))
              : part.scannedTo
          const done = part.end && part.events.length <= room && part.shard === shards.at(-1)
          if (events.length === limit || !part.end)
            return done
              ? { events, incomplete }
              : { events, incomplete, nextCursor: encodeCursor(part.shard, last) }
        }
      }
      from += round.length
      after = 0
    }
    return { events, incomplete }
  }

  /** At most `limit` (1 to 1,000) events of one key after an offset of its shard, as they are stored. */
  async readKey(stream: string, key: string, after: number, limit: number): Promise<ShardPart> {
    const shard = shardOf(key, this.world.plane.shards)
    const [part] = await this.readRound([[shard, after]], limit, { stream, key })
    return part ?? { shard, events: [], scannedTo: after, end: false, error: 'the shard was not read' }
  }

  /** The owner's side: what is confirmed of the shards that are open here. */
  async answer(body: Uint8Array): Promise<Uint8Array> {
    const ask = unpackReadAsk(body, this.world.plane.shards)
    return pack({ parts: await this.readHere(ask) } satisfies ReadAnswer)
  }

  private async readHere(ask: ReadAsk): Promise<ReadAnswer['parts']> {
    const parts: (readonly [number, readonly StoredEvent[], number, boolean] | null)[] = []
    let room = ask.limit
    for (const [shard, after] of ask.shards) {
      const segments = this.world.plane.segments(shard)
      if (segments === undefined) parts.push(null)
      else if (room <= 0) parts.push([shard, [], after, false])
      else {
        const { events, scannedTo, end } = await this.scan(shard, segments, after, room, ask.stream, ask.key)
        room -= events.length
        parts.push([shard, events, scannedTo, end])
      }
    }
    return parts
  }

  private async scan(
    shard: ShardId,
    segments: readonly Segment[],
    after: number,
    limit: number,
    stream: string,
    key: string | null,
  ) {
    if (segments.length === 0) return { events: [], scannedTo: after, end: true }
    const events: StoredEvent[] = []
    let scannedTo = after
    let end = false
    while (!end && events.length < limit) {
      const page = await this.world.journal.read({
        shard,
        segments,
        after: scannedTo,
        limit: Math.min(1_000, limit - events.length),
        stream,
        ...(key === null ? {} : { key }),
      })
      events.push(...page.events)
      scannedTo = page.scannedTo
      end = page.end
    }
    return { events, scannedTo, end }
  }

  private async readRound(
    wanted: readonly [ShardId, number][],
    limit: number,
    query: EventQuery,
  ): Promise<ShardPart[]> {
    const found = new Map<ShardId, ShardPart>()
    const deadlineMs = monotonicMs() + ownerWaitMs
    let missing = [...wanted]
    let trouble = ''
    while (missing.length > 0) {
      const answers = await Promise.all(
        [...this.byOwner(missing)].map(([owner, list]) => this.ask(owner, list, limit, query)),
      )
      for (const { parts, error } of answers) {
        for (const part of parts)
          if (part !== null)
            found.set(part[0], { shard: part[0], events: part[1], scannedTo: part[2], end: part[3] })
        if (error !== '') trouble = error
      }
      missing = missing.filter(([shard]) => !found.has(shard))
      if (missing.length === 0 || monotonicMs() >= deadlineMs) break
      await pause(50)
    }
    if (missing.length > 0)
      for (const part of await this.readSealed(missing, limit, query, trouble)) found.set(part.shard, part)
    return wanted.flatMap(([shard]) => found.get(shard) ?? [])
  }

  private byOwner(wanted: readonly [ShardId, number][]): Map<NodeId | null | '', [ShardId, number][]> {
    const byOwner = new Map<NodeId | null | '', [ShardId, number][]>()
    for (const item of wanted) {
      const route = this.world.plane.route(item[0])
      const owner = route.kind === 'self' ? '' : route.kind === 'node' ? route.nodeId : null
      const list = byOwner.get(owner)
      if (list === undefined) byOwner.set(owner, [item])
      else list.push(item)
    }
    return byOwner
  }

  private async ask(
    owner: NodeId | null | '',
    shards: readonly [ShardId, number][],
    limit: number,
    query: EventQuery,
  ): Promise<{ parts: ReadAnswer['parts']; error: string }> {
    const ask: ReadAsk = { shards, limit, stream: query.stream, key: query.key ?? null }
    if (owner === null) return { parts: [], error: 'the shard has no owner at the moment' }
    if (owner === '') return { parts: await this.readHere(ask), error: 'this node is taking the shard up' }
    const address = this.world.peerAddress(owner)
    if (address === undefined) return { parts: [], error: `${owner} has no known address` }
    try {
      const body = await this.world.mesh.request(address, meshFrames.read, pack(ask), {
        timeoutMs: ownerTimeoutMs,
      })
      return {
        parts: (unpack(body) as ReadAnswer).parts,
        error: `${owner} does not own the shard at the moment`,
      }
    } catch (error) {
      return { parts: [], error: `${owner}: ${error instanceof Error ? error.message : String(error)}` }
    }
  }

  private async readSealed(
    wanted: readonly [ShardId, number][],
    limit: number,
    query: EventQuery,
    error: string,
  ): Promise<ShardPart[]> {
    const seals = new Map(await this.world.seals(wanted.map(([shard]) => shard)))
    return Promise.all(
      wanted.map(async ([shard, after]): Promise<ShardPart> => {
        const { events, scannedTo, end } = await this.scan(
          shard,
          seals.get(shard)?.segments ?? [],
          after,
          limit,
          query.stream,
          query.key ?? null,
        )
        return { shard, events, scannedTo, end, error }
      }),
    )
  }
}

function encodeCursor(shard: ShardId, offset: number): string {
  return Buffer.from(`1.${shard}.${offset}`).toString('base64url')
}

function decodeCursor(text: string | undefined): { shard: ShardId; offset: number } | undefined {
  if (text === undefined || text === '') return undefined
  const match = /^1\.(\d{1,6})\.(\d{1,15})$/.exec(Buffer.from(text, 'base64url').toString())
  if (match === null)
    throw new SkeinError(
      'invalid_argument',
      `"${text}" is not a cursor: pass a next_cursor of an earlier answer as \`after\``,
      { details: { field: 'after' } },
    )
  return { shard: Number(match[1]), offset: Number(match[2]) }
}
