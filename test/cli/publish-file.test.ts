/** Sending a file against a server that refuses, breaks off and answers late: nothing is lost, nothing sent out of order. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { type CliFailure, exitCodes } from '../../src/cli/exit.js'
import { batchesOf, keyFinder, type LineSource } from '../../src/cli/line-batches.js'
import { publishLines } from '../../src/cli/publish-file.js'

interface Sent {
  readonly id: string
  readonly key: string
  readonly payload: { readonly line: string; readonly n: number }
}

type Reply =
  | 'break'
  | {
      readonly status: number
      readonly body: unknown
      readonly headers?: Record<string, string>
      /** The events count as stored although the client may not hear of it. */
      readonly stores?: boolean
    }

const dir = mkdtempSync(join(tmpdir(), 'skein-publish-'))
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** A server that injects failures: each request gets the next reply of the script, then all is accepted. */
class FaultyNode {
  readonly requests: Sent[][] = []
  readonly stored = new Map<string, Sent>()
  readonly atMs: number[] = []
  address = ''
  private readonly script: ((events: readonly Sent[]) => Reply)[]

  constructor(script: readonly ((events: readonly Sent[]) => Reply)[] = []) {
    this.script = [...script]
  }

  async listen(): Promise<this> {
    const server = createServer((request, response) => {
      let text = ''
      request.on('data', (chunk: Buffer) => {
        text += String(chunk)
      })
      request.on('end', () => {
        const events = text.split('\n').map((line) => JSON.parse(line) as Sent)
        this.requests.push(events)
        this.atMs.push(Date.now())
        const reply = this.script.shift()?.(events) ?? { status: 202, body: { results: this.take(events) } }
        if (reply === 'break') {
          request.socket.destroy()
          return
        }
        response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers })
        response.end(JSON.stringify(reply.body))
      })
    })
    servers.push(server)
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    this.address = `127.0.0.1:${(server.address() as AddressInfo).port}`
    return this
  }

  take(events: readonly Sent[]): { id: string; status: string }[] {
    return events.map((event) => {
      const isKnown = this.stored.has(event.id)
      if (!isKnown) this.stored.set(event.id, event)
      return { id: event.id, status: isKnown ? 'duplicate' : 'accepted' }
    })
  }
}

let files = 0
function source(lines: readonly string[], more: Partial<LineSource> = {}): LineSource {
  const file = join(dir, `log-${++files}`)
  writeFileSync(file, lines.join('\n'))
  const keyOf = keyFinder(/k\d+/, undefined)
  return { file, stream: 's', keyOf, batchLines: 4, repeat: 1, ...more }
}

const target = (...addresses: string[]) => ({ addresses, stream: 's', patienceMs: 5_000 })
const tenLines = Array.from({ length: 10 }, (_, i) => `k${i % 3} says ${i}`)
const overloaded = (status: number) => () => ({
  status,
  body: { code: 'overloaded', detail: 'too much' },
  headers: { 'retry-after': '0.3' },
})

describe('sending a file', () => {
  test('sends every line once, in order, in batches, with ids of file and number', async () => {
    const node = await new FaultyNode().listen()
    const summary = await publishLines(source(tenLines, { idPrefix: 'p' }), target(node.address))
    expect(node.requests.map((r) => r.length)).toEqual([4, 4, 2])
    expect(node.requests.flat().map((e) => e.payload.line)).toEqual(tenLines)
    expect(node.requests.flat().map((e) => e.id)).toEqual(tenLines.map((_, i) => `p:${i + 1}`))
    expect(summary).toMatchObject({ lines: 10, accepted: 10, duplicates: 0, skipped: 0, resent: 0 })
  })

  test('sends a refused batch again, not before the time it was told to wait', async () => {
    const node = await new FaultyNode([overloaded(429), overloaded(503)]).listen()
    const summary = await publishLines(source(tenLines), target(node.address))
    expect(node.requests[1]).toEqual(node.requests[0])
    expect(node.requests[2]).toEqual(node.requests[0])
    expect((node.atMs[1] as number) - (node.atMs[0] as number)).toBeGreaterThanOrEqual(290)
    expect(summary).toMatchObject({ accepted: 10, duplicates: 0, resent: 8 })
    expect([...node.stored.values()].map((e) => e.payload.line)).toEqual(tenLines)
  })

  test('a batch that was stored without an answer comes back as duplicates, none is lost', async () => {
    const node = await new FaultyNode().listen()
    const broken = await new FaultyNode([
      (events) => {
        node.take(events)
        return 'break'
      },
    ]).listen()
    const summary = await publishLines(source(tenLines), target(broken.address, node.address))
    expect(summary).toMatchObject({ accepted: 6, duplicates: 4 })
    expect([...node.stored.values()].map((e) => e.payload.line)).toEqual(tenLines)
  })

  test('only the refused part of a batch is sent again', async () => {
    const half = (node: () => FaultyNode) => (events: readonly Sent[]) => ({
      status: 202,
      body: {
        results: [
          ...node().take(events.slice(0, 2)),
          ...events.slice(2).map((e) => ({
            id: e.id,
            status: 'rejected',
            error: { code: 'no_owner', detail: 'x', retryable: true },
          })),
        ],
      },
    })
    const node: FaultyNode = await new FaultyNode([half(() => node)]).listen()
    const summary = await publishLines(source(tenLines), target(node.address))
    expect(node.requests.map((r) => r.length)).toEqual([4, 2, 4, 2])
    expect(summary).toMatchObject({ accepted: 10, resent: 2 })
  })

  test('the next address is tried when one cannot be reached', async () => {
    const gone = await new FaultyNode().listen()
    servers.splice(0).forEach((server) => {
      server.close()
    })
    const node = await new FaultyNode().listen()
    const summary = await publishLines(source(tenLines), target(gone.address, node.address))
    expect(summary.accepted).toBe(10)
    expect(node.stored.size).toBe(10)
  })

  test('gives up when patience ends, and says that running again is safe', async () => {
    const node = await new FaultyNode(Array.from({ length: 50 }, () => overloaded(503))).listen()
    const failure = await publishLines(source(tenLines), { ...target(node.address), patienceMs: 500 }).then(
      () => undefined,
      (error: unknown) => error as CliFailure,
    )
    expect(failure).toMatchObject({ exitCode: exitCodes.timedOut })
    expect(failure?.message).toMatch(/too much.*same command again/)
  })

  test('stops at once at what will never be taken', async () => {
    const conflict = (events: readonly Sent[]) => ({
      status: 409,
      body: {
        results: events.map((e) => ({
          id: e.id,
          status: 'rejected',
          error: { code: 'event_conflict', detail: 'another payload', retryable: false },
        })),
      },
    })
    const node = await new FaultyNode([conflict]).listen()
    await expect(publishLines(source(tenLines), target(node.address))).rejects.toMatchObject({
      exitCode: exitCodes.conflict,
      message: expect.stringMatching(/line 1 .*--id-prefix/),
    })
    const strict = await new FaultyNode([
      () => ({ status: 400, body: { code: 'invalid_argument', detail: 'stream' } }),
    ]).listen()
    await expect(publishLines(source(tenLines), target(strict.address))).rejects.toMatchObject({
      exitCode: exitCodes.usage,
    })
    expect(strict.requests).toHaveLength(1)
  })
})

describe('reading lines', () => {
  const read = async (s: LineSource) => {
    const batches = []
    for await (const batch of batchesOf(s)) batches.push(batch)
    return batches
  }

  test('lines without a key are left out and counted, or get the default key', async () => {
    const lines = ['k1 a', 'nothing', 'k2 b']
    const [batch] = await read(source(lines))
    expect(batch?.lines).toBe(3)
    expect(batch?.events.map((e) => [e.key, e.n])).toEqual([
      ['k1', 1],
      ['k2', 3],
    ])
    const [all] = await read(source(lines, { keyOf: keyFinder(/k\d+/, '-') }))
    expect(all?.events.map((e) => e.key)).toEqual(['k1', '-', 'k2'])
  })

  test('the first group is the key if there is one, and an empty match is none', () => {
    expect(keyFinder(/id=(\d+)/, undefined)('x id=42')).toBe('42')
    expect(keyFinder(/(a)|b/, undefined)('b')).toBe('b')
    expect(keyFinder(/x*/, undefined)('abc')).toBeUndefined()
  })

  test('repeating gives every round its own ids; reading again gives the same', async () => {
    const s = source(tenLines, { repeat: 3 })
    const ids = async () => (await read(s)).flatMap((b) => b.events.map((e) => e.id))
    const first = await ids()
    expect(new Set(first).size).toBe(30)
    expect(await ids()).toEqual(first)
  })

  test('carriage returns and a last line without an end make no difference; long lines end a batch', async () => {
    const [batch] = await read(source(['k1 a\r', 'k2 b']))
    expect(batch?.events.map((e) => e.line)).toEqual(['k1 a', 'k2 b'])
    const long = `k1 ${'x'.repeat(900_000)}`
    expect((await read(source(Array(6).fill(long), { batchLines: 500 }))).length).toBe(2)
  })
})
