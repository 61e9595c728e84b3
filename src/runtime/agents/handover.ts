/**
 * States on their way from a node to the next: cut into pieces with a digest each, so that what is there already is not sent again. The
 * receiver keeps a state aside until the store says that it is the one to start from, by its token.
 */
import { createHash } from 'node:crypto'
import { SkeinError } from '../../core/kernel/error.js'
import { pack, unpack } from '../mesh-frames.js'
import type { HandedState } from './defined-agent.js'

const pieceBytes = 256 * 1024
const asideBytesMax = 256 * 1024 * 1024
const asideMax = 10_000
const asideForMs = 60_000

/** Which pieces of a state there are, and what the whole is. */
interface Offer {
  readonly name: string
  readonly epoch: number
  readonly seq: number
  readonly bytes: number
  readonly digests: readonly string[]
}

interface Aside {
  readonly offer: Offer
  readonly pieces: (Uint8Array | undefined)[]
  readonly untilMs: number
}

export function tokenOf(name: string, state: HandedState): string {
  return digest(pack([name, state.epoch, state.seq, digest(state.bytes)]))
}

/** Sends a state. `request` carries a body to the receiver's {@link Handovers.receive}. Rejects when it cannot be sent. */
export async function sendState(
  name: string,
  state: HandedState,
  request: (body: Uint8Array) => Promise<Uint8Array>,
): Promise<void> {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < state.bytes.length || at === 0; at += pieceBytes)
    pieces.push(state.bytes.subarray(at, at + pieceBytes))
  const digests = pieces.map(digest)
  const { epoch, seq } = state
  const head = [name, epoch, seq, state.bytes.length, digests]
  // A small one goes with the offer.
  const first = pieces.length === 1 ? pieces : []
  const missing = unpack(await request(pack(['offer', head, first]))) as number[]
  for (const index of missing) await request(pack(['piece', name, epoch, seq, index, pieces[index]]))
}

export class Handovers {
  private readonly aside = new Map<string, Aside>()
  private readonly nowMs: () => number

  constructor(nowMs: () => number) {
    this.nowMs = nowMs
  }

  /** Answers one frame of `sendState`. */
  receive(body: Uint8Array): Uint8Array {
    const row = unpack(body)
    if (!Array.isArray(row)) throw malformed()
    if (row[0] === 'offer') return pack(this.offered(row[1] as unknown[], row[2] as Uint8Array[]))
    if (row[0] === 'piece') {
      const [, name, epoch, seq, index, bytes] = row as [string, string, number, number, number, Uint8Array]
      this.piece(name, epoch, seq, index, bytes)
      return pack([])
    }
    throw malformed()
  }

  /** The state with that token, once. */
  take(name: string, token: string): HandedState | undefined {
    this.sweep()
    const found = this.aside.get(name)
    if (found === undefined || token === '') return undefined
    const { offer, pieces } = found
    if (pieces.some((p) => p === undefined)) return undefined
    if ((pieces as Uint8Array[]).reduce((sum, p) => sum + p.length, 0) !== offer.bytes) return undefined
    const bytes = new Uint8Array(offer.bytes)
    let at = 0
    for (const piece of pieces as Uint8Array[]) {
      bytes.set(piece, at)
      at += piece.length
    }
    const state = { epoch: offer.epoch, seq: offer.seq, bytes }
    if (tokenOf(name, state) !== token) return undefined
    this.aside.delete(name)
    return state
  }

  private offered(head: unknown[], first: readonly Uint8Array[]): number[] {
    const [name, epoch, seq, bytes, digests] = head as [string, number, number, number, string[]]
    const isSound =
      typeof name === 'string' &&
      Number.isSafeInteger(bytes) &&
      bytes >= 0 &&
      Array.isArray(digests) &&
      digests.length === Math.max(1, Math.ceil(bytes / pieceBytes)) &&
      Array.isArray(first)
    if (!isSound) throw malformed()
    this.sweep()
    const before = this.aside.get(name)
    let held = 0
    for (const a of this.aside.values()) if (a !== before) held += a.offer.bytes
    if (held + bytes > asideBytesMax || (before === undefined && this.aside.size >= asideMax))
      throw new SkeinError('overloaded', `${this.aside.size} states of ${held} bytes wait here already`, {
        retryable: true,
      })
    const known = new Map<string, Uint8Array>()
    before?.offer.digests.forEach((d, i) => {
      const piece = before.pieces[i]
      if (piece !== undefined) known.set(d, piece)
    })
    for (const piece of first) known.set(digest(piece), Uint8Array.prototype.slice.call(piece))
    const pieces = digests.map((d) => known.get(d))
    this.aside.set(name, {
      offer: { name, epoch, seq, bytes, digests },
      pieces,
      untilMs: this.nowMs() + asideForMs,
    })
    return pieces.flatMap((p, i) => (p === undefined ? [i] : []))
  }

  private piece(name: string, epoch: number, seq: number, index: number, bytes: Uint8Array): void {
    const a = this.aside.get(name)
    if (a === undefined || a.offer.epoch !== epoch || a.offer.seq !== seq)
      throw new SkeinError('not_found', `no state of "${name}" is expected here`)
    if (digest(bytes) !== a.offer.digests[index])
      throw new SkeinError(
        'corrupt',
        `piece ${index} of the state of "${name}" does not have the digest that was announced`,
      )
    a.pieces[index] = Uint8Array.prototype.slice.call(bytes)
  }

  private sweep(): void {
    for (const [name, { untilMs }] of this.aside) if (untilMs < this.nowMs()) this.aside.delete(name)
  }
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64url')
}

function malformed(): SkeinError {
  return new SkeinError('protocol_violation', 'a malformed frame of a state on its way')
}
