import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { eventInputSchema, limits } from '../../src/http/contract.js'
import { checkEvent, parseEvents } from '../../src/http/event-input.js'
import { isTooDeep, jsonDepthMax, parseJson } from '../../src/http/json-input.js'

const json = 'application/json'
const ndjson = 'application/x-ndjson'
const event = { stream: 's', key: 'k', payload: 1 }

describe('depth of JSON', () => {
  it('is refused beyond the limit and accepted at it', () => {
    const nested = (depth: number) => Buffer.from(`${'['.repeat(depth)}${']'.repeat(depth)}`)
    expect(isTooDeep(nested(jsonDepthMax))).toBe(false)
    expect(isTooDeep(nested(jsonDepthMax + 1))).toBe(true)
    expect(isTooDeep(Buffer.from('['.repeat(5_000_000)))).toBe(true)
  })

  it('does not count brackets inside strings, escapes included', () => {
    expect(isTooDeep(Buffer.from(JSON.stringify({ text: `\\"${'[{'.repeat(200)}` })))).toBe(false)
  })

  it('agrees with a walk over the parsed value', () => {
    const depthOf = (value: unknown): number =>
      typeof value !== 'object' || value === null ? 0 : 1 + Math.max(0, ...Object.values(value).map(depthOf))
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.integer({ min: 0, max: 7 }), (value, depthMax) => {
        const bytes = Buffer.from(JSON.stringify(value))
        expect(isTooDeep(bytes, 0, bytes.length, depthMax)).toBe(
          depthOf(JSON.parse(bytes.toString())) > depthMax,
        )
      }),
    )
  })

  it('never throws anything but a problem, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        try {
          parseJson(Buffer.from(bytes))
        } catch (error) {
          expect(error).toMatchObject({ name: 'SkeinError', status: 400 })
        }
      }),
    )
  })
})

describe('an event from outside', () => {
  const good: unknown[] = [
    event,
    { ...event, payload: null },
    { ...event, key: '__proto__', id: 'constructor' },
    { ...event, key: 'a\u0000b\nc', id: '\u0000' },
    { ...event, key: 'é'.repeat(512), type: '' },
    { ...event, id: 'x'.repeat(256), stream: '__proto__' },
    JSON.parse('{"stream":"s","key":"k","payload":{"__proto__":{"a":1}}}'),
  ]
  const bad: readonly (readonly [unknown, string])[] = [
    [{ ...event, stream: 'a b' }, 'stream'],
    [{ ...event, stream: 'a\u0000' }, 'stream'],
    [{ ...event, stream: 'a\n' }, 'stream'],
    [{ ...event, stream: 'x'.repeat(129) }, 'stream'],
    [{ ...event, key: '' }, 'key'],
    [{ ...event, key: 7 }, 'key'],
    [{ ...event, key: 'é'.repeat(513) }, 'key'],
    [{ stream: 's', key: 'k' }, 'payload'],
    [{ ...event, id: '' }, 'id'],
    [{ ...event, id: 'x'.repeat(257) }, 'id'],
    [{ ...event, type: 1 }, 'type'],
    [{ ...event, paylod: 1 }, 'paylod'],
    [JSON.parse('{"stream":"s","key":"k","payload":1,"__proto__":{}}'), '__proto__'],
    [null, 'event'],
    [[event], 'event'],
    ['text', 'event'],
  ]

  it.each(good)('is taken: %j', (value) => {
    expect(checkEvent(value).problem).toBeUndefined()
    expect(eventInputSchema.safeParse(value).success).toBe(true)
  })

  it.each(bad)('is refused: %j names %s', (value, field) => {
    expect(checkEvent(value).problem).toMatchObject({ code: 'invalid_argument', details: { field } })
    if (field !== '__proto__') expect(eventInputSchema.safeParse(value).success).toBe(false)
  })

  it('is refused with half a surrogate pair, which would come back changed', () => {
    expect(checkEvent({ ...event, key: '\ud800' }).problem?.details.field).toBe('key')
    expect(checkEvent({ ...event, key: '\u{1f600}' }).problem).toBeUndefined()
  })

  it('keeps ids and keys exactly', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 200, unit: 'grapheme' }), (text) => {
        fc.pre(text.length <= 256)
        const bytes = Buffer.from(JSON.stringify({ ...event, key: text, id: text }))
        expect(parseEvents(bytes, json).events[0]?.event).toMatchObject({ key: text, id: text })
      }),
    )
  })
})

describe('a body of events', () => {
  it('may be one, an array, or lines', () => {
    const text = JSON.stringify(event)
    expect(parseEvents(Buffer.from(text), json)).toMatchObject({ isSingle: true, events: [{ event }] })
    expect(parseEvents(Buffer.from(` [${text},${text}]`), json).events).toHaveLength(2)
    expect(parseEvents(Buffer.from(`${text}\r\n\n${text}`), ndjson).events).toMatchObject([
      { event },
      { event },
    ])
    expect(parseEvents(Buffer.from(''), ndjson).events).toHaveLength(0)
  })

  it('keeps the good lines when others are bad, and says which', () => {
    const { events } = parseEvents(
      Buffer.from(`${JSON.stringify(event)}\n{bad\n${'['.repeat(99)}\n"x"`),
      ndjson,
    )
    expect(events.map((each) => each.problem?.code)).toEqual([
      undefined,
      'invalid_argument',
      'too_deep',
      'invalid_argument',
    ])
    expect(events[1]?.problem?.details.field).toBe('line 2')
  })

  it('is refused one byte above the limit for a single event, not for an array', () => {
    const filler = limits.singleBytesMax - JSON.stringify({ ...event, payload: '' }).length
    const exact = JSON.stringify({ ...event, payload: 'x'.repeat(filler) })
    expect(parseEvents(Buffer.from(exact), json).isSingle).toBe(true)
    expect(() => parseEvents(Buffer.from(`${exact} `), json)).toThrow(
      expect.objectContaining({ code: 'payload_too_large' }),
    )
    expect(parseEvents(Buffer.from(`[${exact}]`), json).events).toHaveLength(1)
  })

  it('is refused when it is not UTF-8', () => {
    expect(() => parseEvents(Buffer.from([0x22, 0xff, 0x22]), json)).toThrow(/UTF-8/)
  })
})
