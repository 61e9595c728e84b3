/** What agents print: lines, the ring, the files, and how much of it may be under way. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { agentDirectory } from '../../src/drivers/agent-guard/agent-directory.js'
import { LineSplitter } from '../../src/drivers/agent-guard/line-splitter.js'
import { OutputLog } from '../../src/drivers/agent-guard/output-log.js'
import { OutputRing } from '../../src/drivers/agent-guard/output-ring.js'
import { Bench, buildFromSources, eventually, makeDirectory, removeFiles } from './kit.js'

beforeAll(buildFromSources)
afterAll(removeFiles)

describe('lines', () => {
  const all = 1_000_000

  it('are the same however the bytes are cut', () => {
    const text = fc.array(fc.constantFrom('a', 'ü', '€', '🦢', '\n', '\r\n', 'long enough '), {
      maxLength: 60,
    })
    fc.assert(
      fc.property(text, fc.array(fc.nat(200)), (parts, cuts) => {
        const bytes = Buffer.from(parts.join(''))
        const splitter = new LineSplitter(32)
        const places = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])]
        places.sort((a, b) => a - b)
        const found = places
          .slice(1)
          .map((to, i) => splitter.split(bytes.subarray(places[i], to), all))
          .concat(splitter.flush(true))
        const whole = new LineSplitter(32)
        const expected = [whole.split(bytes, all), whole.flush(true)]
        expect(found.flatMap(({ texts }) => texts)).toEqual(expected.flatMap(({ texts }) => texts))
        expect(Buffer.concat(found.map((lines) => lines.bytes))).toEqual(bytes)
        const joined = found
          .flatMap(({ texts }) => texts.map((t) => t.text + (t.isPartial ? '' : '\n')))
          .join('')
        const endsOpen = bytes.length > 0 && bytes.at(-1) !== 0x0a
        // A line that is cut just before its `\r\n` keeps nothing of it; so it is with a cut of 32 bytes and a `\r` alone.
        expect(joined.replaceAll('\r', '')).toBe(parts.join('').replaceAll('\r', '') + (endsOpen ? '\n' : ''))
        expect(joined).not.toContain('\ufffd')
      }),
    )
  })

  it('that are too long come in pieces, cut between characters', () => {
    const splitter = new LineSplitter(5)
    const { texts } = splitter.split(Buffer.from('🦢🦢ab\n'), all)
    expect(texts).toEqual([
      { text: '🦢', isPartial: true },
      { text: '🦢a', isPartial: true },
      { text: 'b', isPartial: false },
    ])
    expect(new LineSplitter(5).split(Buffer.alloc(12, 0x80), all).count).toBe(2)
  })

  it('that wait for their end are passed on without half a character', () => {
    const splitter = new LineSplitter(100)
    splitter.split(Buffer.concat([Buffer.from('name? '), Buffer.from('🦢').subarray(0, 3)]), all)
    expect(splitter.flush(false).texts).toEqual([{ text: 'name? ', isPartial: true }])
    expect(splitter.flush(false).texts).toEqual([])
    expect(
      splitter.split(Buffer.concat([Buffer.from('🦢').subarray(3), Buffer.from('\n')]), all).texts,
    ).toEqual([{ text: '🦢', isPartial: false }])
  })

  it('nobody can keep are counted, not decoded', () => {
    const { count, texts } = new LineSplitter(100).split(Buffer.from('1\n2\n3\n4\n'), 2)
    expect(count).toBe(4)
    expect(texts.map(({ text }) => text)).toEqual(['3', '4'])
  })
})

describe('the ring', () => {
  const line = (seq: number, text = String(seq)) =>
    ({ epoch: 1, stream: 'stdout', text, seq, atMs: 0, isPartial: false }) as const

  it('keeps the newest lines, bounded in number and size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.array(fc.nat(300)), (linesMax, lengths) => {
        const ring = new OutputRing(linesMax, 1_000)
        lengths.forEach((length, i) => {
          ring.push(line(i + 1, 'x'.repeat(length)))
          const kept = ring.read(undefined, 1_000)
          expect(kept.length).toBe(ring.size)
          expect(kept.length).toBeLessThanOrEqual(linesMax)
          expect(kept.at(-1)?.seq).toBe(i + 1)
          expect(kept.map(({ seq }) => seq)).toEqual(kept.map((_, k) => i + 2 - kept.length + k))
          const bytes = kept.reduce((sum, { text }) => sum + 64 + 2 * text.length, 0)
          expect(bytes <= 1_000 || kept.length === 1).toBe(true)
        })
      }),
    )
  })

  it('is read from a place, or from its end', () => {
    const ring = new OutputRing(5, 100_000)
    for (let seq = 1; seq <= 12; seq++) ring.push(line(seq))
    const numbers = (...query: [number | undefined, number]) => ring.read(...query).map(({ seq }) => seq)
    expect(numbers(undefined, 2)).toEqual([11, 12])
    expect(numbers(0, 2)).toEqual([8, 9])
    expect(numbers(10, 10)).toEqual([11, 12])
    expect(numbers(12, 10)).toEqual([])
  })
})

describe('the file', () => {
  let directory = ''
  const failures: string[] = []
  beforeEach(() => {
    directory = join(makeDirectory(), 'alice')
    failures.length = 0
  })
  afterEach(() => rmSync(join(directory, '..'), { recursive: true, force: true }))
  const makeLog = (filesMax: number) =>
    new OutputLog({ directory, fileBytesMax: 1_000, filesMax, onFailure: (detail) => failures.push(detail) })

  it('is followed by others, as many as allowed, and nothing is lost between them', async () => {
    const log = makeLog(3)
    for (let i = 0; i < 40; i++) void log.append(Buffer.from(`${String(i).padStart(99, '.')}\n`))
    await log.close()
    expect(readdirSync(directory).sort()).toEqual(['output.log', 'output.log.1', 'output.log.2'])
    const text = ['.2', '.1', '']
      .map((end) => readFileSync(join(directory, `output.log${end}`), 'utf8'))
      .join('')
    expect(
      text
        .split('\n')
        .filter(Boolean)
        .map((l) => Number(l.replaceAll('.', ''))),
    ).toEqual(Array.from({ length: 30 }, (_, i) => i + 10))
    await log.append(Buffer.from('again\n'))
    await log.close()
    expect(readFileSync(join(directory, 'output.log'), 'utf8')).toBe('again\n')
    const single = makeLog(1)
    await single.append(Buffer.from('alone\n'.padStart(999, '.')))
    await single.close()
    expect(readFileSync(join(directory, 'output.log'), 'utf8')).toMatch(/^\.+alone\n$/)
    expect(failures).toEqual([])
  })

  it('that cannot be written is said once, and nobody waits for it', async () => {
    writeFileSync(directory, 'in the way')
    const log = makeLog(3)
    for (let i = 0; i < 10; i++) await log.append(Buffer.from('lost\n'))
    expect(failures).toHaveLength(1)
    expect(failures[0]).toMatch(/EEXIST|ENOTDIR/)
  })

  it('is not written through a link', async () => {
    const log = makeLog(3)
    await log.append(Buffer.from('x'))
    await log.close()
    rmSync(join(directory, 'output.log'))
    const elsewhere = join(directory, 'elsewhere')
    writeFileSync(elsewhere, 'precious')
    symlinkSync(elsewhere, join(directory, 'output.log'))
    await log.append(Buffer.from('y'))
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious')
    expect(failures[0]).toMatch(/ELOOP/)
  })

  it('lies in a directory of its own for every name, and never outside', () => {
    expect(agentDirectory('/d', 'alice-2.b_c')).toBe('/d/alice-2.b_c')
    expect(agentDirectory('/d', '..')).toBe('/d/%2E.')
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', minLength: 1, maxLength: 256 }),
        fc.string({ unit: fc.constantFrom('.', '/', '%', '2', 'E', 'a'), minLength: 1, maxLength: 8 }),
        (a, b) => {
          for (const name of [a, b])
            expect(agentDirectory('/d', name)).toMatch(/^\/d\/[A-Za-z0-9_%-][A-Za-z0-9_.%-]{0,200}$/)
          // Lone surrogates become one replacement character, like in every file name.
          const same = Buffer.from(a).equals(Buffer.from(b))
          expect(agentDirectory('/d', a) === agentDirectory('/d', b)).toBe(same)
        },
      ),
    )
    const long = 'ü'.repeat(200)
    expect(agentDirectory('/d', `${long}a`)).not.toBe(agentDirectory('/d', `${long}b`))
  })
})

describe('the output of an agent', () => {
  it('comes in lines, with rising numbers, and stays readable after its end', async () => {
    await using bench = await new Bench({ ringLinesMax: 50 }).open()
    await bench.startShell('alice', 'i=0; while [ $i -lt 120 ]; do i=$((i+1)); echo "line $i"; done')
    await bench.event('exited', 'alice')
    const all = await bench.processes.output('alice', { afterSeq: 0, limit: 10_000 })
    expect(all.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, i) => 71 + i))
    expect(all.map(({ text }) => text)).toEqual(all.map(({ seq }) => `line ${seq}`))
    expect((await bench.processes.output('alice', { limit: 3 })).map(({ seq }) => seq)).toEqual([
      118, 119, 120,
    ])
    expect(
      (await bench.processes.output('alice', { afterSeq: 100, limit: 2 })).map(({ seq }) => seq),
    ).toEqual([101, 102])
    await bench.startShell('alice', 'echo again')
    expect(await bench.line('alice', 'again')).toBe('again')
    expect((await bench.processes.output('alice', { limit: 1 }))[0]).toMatchObject({
      seq: 121,
      text: 'again',
    })
    const file = join(bench.directory, 'agents', 'alice', 'output.log')
    await eventually('the file has the end', () =>
      readFileSync(file, 'utf8').includes('epoch 1: ended, code 0'),
    )
    expect(readFileSync(file, 'utf8')).toContain('\nline 1\nline 2\n')
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it('is passed on while a line is unfinished', async () => {
    await using bench = await new Bench().open()
    await bench.startShell('alice', 'printf "name? "; read name; echo "hello $name"')
    expect(await bench.line('alice', 'name?')).toBe('name? ')
    await bench.processes.input('alice', 'bob\n')
    expect(await bench.line('alice', 'hello')).toBe('hello bob')
    expect(bench.events.flatMap((e) => (e.type === 'output' ? [e.isPartial] : []))).toEqual([true, false])
  })

  it('of an agent with an evil name stays in its directory', async () => {
    await using bench = await new Bench().open()
    const name = '../../evil/../x'
    await bench.startShell(name, 'echo hi')
    await bench.event('exited', name)
    expect(readdirSync(join(bench.directory, 'agents'))).toEqual(['%2E.%2F..%2Fevil%2F..%2Fx'])
    expect(existsSync(join(bench.directory, '..', 'evil'))).toBe(false)
  })

  it.each([
    ['short lines', 'yes | head -c 209715200'],
    ['no lines at all', 'head -c 209715200 /dev/zero | tr "\\0" x'],
    ['both streams', 'yes out | head -c 104857600; yes err | head -c 104857600 >&2'],
  ])('of 200 MiB in %s passes through a guard that stays small', async (_, script) => {
    await using bench = await new Bench({ fileBytesMax: 1_024 * 1_024, filesMax: 3 }).open()
    await bench.startShell('alice', script)
    await eventually('it is done', () => bench.events.find((e) => e.type === 'exited' && e.name === 'alice'))
    const highest = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${bench.guardPid}/status`, 'utf8'))
    expect(Number(highest?.[1]) / 1_024).toBeLessThan(160)
    const directory = join(bench.directory, 'agents', 'alice')
    const files = readdirSync(directory)
    expect(files.sort()).toEqual(['output.log', 'output.log.1', 'output.log.2'])
    for (const file of files) expect(statSync(join(directory, file)).size).toBeLessThanOrEqual(1_024 * 1_024)
    const passedOn = bench.events.reduce((sum, e) => sum + (e.type === 'output' ? e.text.length : 0), 0)
    expect(passedOn).toBeLessThan(209_715_200 / 2)
    expect(bench.notes).toEqual([])
  })

  it('of a flooding agent does not keep the guard from its other duties', async () => {
    await using bench = await new Bench({ fileBytesMax: 1_024 * 1_024 }).open()
    for (const name of ['a', 'b', 'c']) await bench.startShell(name, 'yes')
    await bench.startShell('calm', 'while read line; do echo "got $line"; done')
    await bench.processes.input('calm', 'this\n')
    expect(await bench.line('calm', 'got')).toBe('got this')
    await Promise.all(['a', 'b', 'c'].map((name) => bench.processes.stop(name, 1, 20_000)))
    expect(bench.events.filter((e) => e.type === 'exited' && e.reason === 'stopped')).toHaveLength(3)
  })
})
