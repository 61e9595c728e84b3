/**
 * Binary form of the membership protocol's messages. First byte: format version, second: type. Numbers are
 * varints, texts are length-prefixed UTF-8 with a limit each. Decoding never throws: garbage is a value that says what was wrong.
 *
 * After a ping or an ack may follow sections: number, length, bytes. A reader passes over sections, and over what follows in a section, that it does not know, so that
 * more can be said from build to build. They are sent only to who says that it reads sections (`facts.ts`).
 */

import { asBootId, asBootNumber, asIncarnation } from '../kernel/brand.js'
import { ByteReader, ByteWriter, WireFault } from '../kernel/bytes.js'
import { type Coordinate, dimensions, isCoordinate } from './coordinates.js'
import { factsBytesMax } from './facts.js'
import type { Claim, Lifecycle, MemberRecord, MemberStatus, Role, Telemetry } from './member.js'
import type { MembershipMessage } from './messages.js'

const version = 1
const types = ['ping', 'ack', 'ping_req', 'nack', 'gossip', 'digest', 'state', 'join', 'refuse'] as const
const statuses: readonly MemberStatus[] = ['alive', 'suspect', 'failed', 'left']
const lifecycles: readonly Lifecycle[] = ['joining', 'active', 'draining', 'leaving', 'left']
const roles: readonly Role[] = ['worker', 'replica', 'standby']

const limits = {
  id: 64,
  address: 255,
  label: 64,
  facts: factsBytesMax,
  detail: 1024,
  claims: 20_000,
  buckets: 256,
} as const

export type MembershipDecode =
  | { readonly ok: true; readonly message: MembershipMessage }
  | { readonly ok: false; readonly detail: string }

export function encodeMembership(message: MembershipMessage): Uint8Array {
  const w = new ByteWriter(512)
  w.u8(version)
  w.u8(types.indexOf(message.type))
  switch (message.type) {
    case 'ping':
      w.varint(message.seq)
      w.string(message.target)
      w.varint(message.health)
      w.varint(Math.max(0, Math.round(message.wallMs)))
      writeTelemetry(w, message.telemetry)
      w.varint(message.digest)
      writeClaims(w, message.claims)
      writeSections(w, message)
      break
    case 'ack':
      w.varint(message.seq)
      w.string(message.from)
      w.varint(Math.max(0, Math.round(message.wallMs)))
      writeTelemetry(w, message.telemetry)
      w.varint(message.digest)
      writeClaims(w, message.claims)
      writeSections(w, message)
      break
    case 'ping_req':
      w.varint(message.seq)
      w.string(message.target)
      w.string(message.address)
      writeClaims(w, message.claims)
      break
    case 'nack':
      w.varint(message.seq)
      w.string(message.from)
      writeClaims(w, message.claims)
      break
    case 'gossip':
      w.string(message.from)
      w.varint(message.digest)
      writeClaims(w, message.claims)
      break
    case 'digest':
      w.string(message.from)
      w.u8(message.reply ? 1 : 0)
      writeNumbers(w, message.buckets)
      break
    case 'state':
      w.string(message.from)
      writeNumbers(w, message.wanted)
      writeClaims(w, message.claims)
      break
    case 'join':
      w.string(message.clusterName)
      w.string(message.storeIdentity)
      writeClaims(w, message.claims)
      break
    case 'refuse':
      w.string(message.from)
      w.string(message.detail)
      break
  }
  return w.finish()
}

export function decodeMembership(bytes: Uint8Array): MembershipDecode {
  try {
    const r = new ByteReader(bytes)
    const v = r.u8()
    if (v !== version) return { ok: false, detail: `message format ${v}, this node knows ${version}` }
    const message = withSections(readMessage(r), r)
    if (r.rest !== 0) return { ok: false, detail: `${r.rest} bytes after the end of the message` }
    return { ok: true, message }
  } catch (error) {
    if (error instanceof WireFault) return { ok: false, detail: error.message }
    throw error
  }
}

/** Bytes that one claim takes, for filling a datagram. */
export function claimBytes(claim: Claim): number {
  const w = new ByteWriter(256)
  writeClaim(w, claim)
  return w.length
}

function readMessage(r: ByteReader): MembershipMessage {
  const type = oneOf(types, r.u8(), 'message type')
  switch (type) {
    case 'ping':
      return {
        type,
        seq: r.varint(),
        target: r.string(limits.id),
        health: r.varint(),
        wallMs: r.varint(),
        telemetry: readTelemetry(r),
        digest: r.varint(),
        claims: readClaims(r),
      }
    case 'ack':
      return {
        type,
        seq: r.varint(),
        from: r.string(limits.id),
        wallMs: r.varint(),
        telemetry: readTelemetry(r),
        digest: r.varint(),
        claims: readClaims(r),
      }
    case 'ping_req':
      return {
        type,
        seq: r.varint(),
        target: r.string(limits.id),
        address: r.string(limits.address),
        claims: readClaims(r),
      }
    case 'nack':
      return { type, seq: r.varint(), from: r.string(limits.id), claims: readClaims(r) }
    case 'gossip':
      return { type, from: r.string(limits.id), digest: r.varint(), claims: readClaims(r) }
    case 'digest':
      return { type, from: r.string(limits.id), reply: r.u8() === 1, buckets: readNumbers(r) }
    case 'state': {
      const from = r.string(limits.id)
      const wanted = readNumbers(r)
      return { type, from, wanted, claims: readClaims(r) }
    }
    case 'join':
      return {
        type,
        clusterName: r.string(limits.id),
        storeIdentity: r.string(limits.label),
        claims: readClaims(r),
      }
    case 'refuse':
      return { type, from: r.string(limits.id), detail: r.string(limits.detail) }
  }
}

function writeNumbers(w: ByteWriter, numbers: readonly number[]): void {
  w.varint(numbers.length)
  for (const n of numbers) w.varint(n)
}

function readNumbers(r: ByteReader): number[] {
  return Array.from({ length: r.count(limits.buckets) }, () => r.varint())
}

function writeTelemetry(w: ByteWriter, t: Telemetry): void {
  w.u8(clampPct(t.cpuPct))
  w.u8(clampPct(t.memoryPct))
  w.u8(clampPct(t.diskPct))
  for (const n of [t.loadCenti, t.eventsPerSecond, t.shardsOwned, t.loopDelayMs, t.unconfirmedEvents])
    w.varint(wholeFrom0(n))
}

function readTelemetry(r: ByteReader): Telemetry {
  return {
    cpuPct: r.u8(),
    memoryPct: r.u8(),
    diskPct: r.u8(),
    loadCenti: r.varint(),
    eventsPerSecond: r.varint(),
    shardsOwned: r.varint(),
    loopDelayMs: r.varint(),
    unconfirmedEvents: r.varint(),
    process: null,
    coordinate: null,
  }
}

type Carrier = Extract<MembershipMessage, { type: 'ping' | 'ack' }>

const sections = { process: 1, coordinate: 2 } as const
const sectionBytesMax = 256

function writeSections(w: ByteWriter, { telemetry }: Carrier): void {
  const { process, coordinate } = telemetry
  if (process !== null) writeSection(w, sections.process, [process.cpuPct, process.memoryMib].map(wholeFrom0))
  if (coordinate === null) return
  // Sizes in µs, the error in thousandths.
  const { place, height, adjustment, error } = coordinate
  const signed = [...place, adjustment].map((ms) => zigzag(ms * 1_000))
  const unsigned = [height * 1_000, error * 1_000].map(wholeFrom0)
  writeSection(w, sections.coordinate, [place.length, ...signed, ...unsigned])
}

function writeSection(w: ByteWriter, section: number, numbers: readonly number[]): void {
  const body = new ByteWriter(32)
  for (const n of numbers) body.varint(n)
  w.u8(section)
  w.varint(body.length)
  w.append(body)
}

function withSections(message: MembershipMessage, r: ByteReader): MembershipMessage {
  if (message.type !== 'ping' && message.type !== 'ack') return message
  let { telemetry } = message
  while (r.rest > 0) {
    const section = r.u8()
    const body = r.part(sectionBytesMax)
    if (section === sections.process)
      telemetry = { ...telemetry, process: { cpuPct: body.varint(), memoryMib: body.varint() } }
    if (section === sections.coordinate) telemetry = { ...telemetry, coordinate: readCoordinate(body) }
  }
  return { ...message, telemetry }
}

/** Null where it is of another space than ours, or out of it. */
function readCoordinate(r: ByteReader): Coordinate | null {
  if (r.varint() !== dimensions) return null
  const place = Array.from({ length: dimensions }, () => fromZigzag(r.varint()) / 1_000)
  const adjustment = fromZigzag(r.varint()) / 1_000
  const coordinate = { place, adjustment, height: r.varint() / 1_000, error: r.varint() / 1_000 }
  return isCoordinate(coordinate) ? coordinate : null
}

function zigzag(value: number): number {
  const whole = Math.round(value)
  return whole < 0 ? -2 * whole - 1 : 2 * whole
}

function fromZigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2
}

function wholeFrom0(value: number): number {
  return Math.max(0, Math.round(value))
}

function clampPct(value: number): number {
  return Math.max(0, Math.min(100, Math.round(value)))
}

function writeClaims(w: ByteWriter, claims: readonly Claim[]): void {
  w.varint(claims.length)
  for (const claim of claims) writeClaim(w, claim)
}

function readClaims(r: ByteReader): Claim[] {
  return Array.from({ length: r.count(limits.claims) }, () => readClaim(r))
}

function writeClaim(w: ByteWriter, claim: Claim): void {
  const m = claim.record
  w.u8(statuses.indexOf(claim.status))
  w.string(claim.from)
  w.varint(claim.missedProbes)
  w.varint(Math.max(0, Math.round(claim.verdictAtMs)))
  w.string(m.nodeId)
  w.string(m.bootId)
  w.varint(m.boot)
  w.varint(m.incarnation)
  w.string(m.controlAddress)
  w.string(m.controlStreamAddress)
  w.string(m.peerAddress)
  w.string(m.httpAddress)
  w.u8(lifecycles.indexOf(m.lifecycle))
  w.u8((m.stalled ? 1 : 0) | (m.cordoned ? 2 : 0))
  w.u8(roles.indexOf(m.role))
  w.string(m.zone)
  w.string(m.region)
  w.string(m.version)
  w.varint(m.startedAtMs)
  w.string(m.facts)
}

function readClaim(r: ByteReader): Claim {
  const status = oneOf(statuses, r.u8(), 'status')
  const from = r.string(limits.id)
  const missedProbes = r.varint()
  const verdictAtMs = r.varint()
  const nodeId = r.string(limits.id)
  if (nodeId === '') throw new WireFault('a claim without a node id')
  const bootId = asBootId(r.string(limits.id))
  const boot = asBootNumber(r.varint())
  const incarnation = asIncarnation(r.varint())
  const controlAddress = r.string(limits.address)
  const controlStreamAddress = r.string(limits.address)
  const peerAddress = r.string(limits.address)
  const httpAddress = r.string(limits.address)
  const lifecycle = oneOf(lifecycles, r.u8(), 'lifecycle')
  const flags = r.u8()
  const record: MemberRecord = {
    nodeId,
    bootId,
    boot,
    incarnation,
    controlAddress,
    controlStreamAddress,
    peerAddress,
    httpAddress,
    lifecycle,
    stalled: (flags & 1) !== 0,
    cordoned: (flags & 2) !== 0,
    role: oneOf(roles, r.u8(), 'role'),
    zone: r.string(limits.label),
    region: r.string(limits.label),
    version: r.string(limits.label),
    startedAtMs: r.varint(),
    facts: r.string(limits.facts),
  }
  return { record, status, from, missedProbes, verdictAtMs }
}

function oneOf<T>(values: readonly T[], index: number, what: string): T {
  const value = values[index]
  if (value === undefined) throw new WireFault(`unknown ${what} ${index}`)
  return value
}
