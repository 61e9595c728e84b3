/** The cookie's file: who may read it, how it is changed in steps, what a running node makes of it. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import {
  CookieKeeper,
  createCookieFile,
  makeCookie,
  parseCookies,
  readCookieFile,
  rotateCookieFile,
} from '../../src/keys/cookie.js'
import { until } from '../transport/kit.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-cookie-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let files = 0
function file(text: string, mode = 0o600): string {
  const path = join(dir, `cookie-${++files}`)
  writeFileSync(path, text, { mode })
  return path
}

const quiet = { changed() {}, refused() {}, weak() {} }
const textOf = (cookies: readonly Uint8Array[]) => cookies.map((each) => Buffer.from(each).toString())

describe('a cookie', () => {
  it('is made of 32 random bytes, never twice the same, in a file of its owner', () => {
    expect(Buffer.from(makeCookie(), 'hex')).toHaveLength(32)
    expect(makeCookie()).not.toBe(makeCookie())
    const path = join(dir, 'deep', 'cookie')
    expect(createCookieFile(path)).toBe(true)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const before = readFileSync(path, 'utf8')
    expect(createCookieFile(path)).toBe(false)
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  it.each([
    ['', /0 lines/],
    ['short\n', /5 bytes/],
    ['one-cookie-1\ntwo-cookie-2\nthree-cookie', /3 lines/],
    ['same-cookie\nsame-cookie\n', /twice/],
  ])('%j is refused', (text, words) => {
    expect(() => parseCookies(text, 'f')).toThrow(words)
    expect(() => parseCookies(text, 'f')).toThrow(expect.objectContaining({ code: 'bad_cookie' }))
  })

  it('in a file that others can read is refused, and so is no file', () => {
    const path = file(makeCookie())
    chmodSync(path, 0o604)
    expect(() => readCookieFile(path)).toThrow(/chmod 600/)
    expect(() => readCookieFile(join(dir, 'absent'))).toThrow(/does not exist/)
  })

  it('that is short is taken, with a warning each time', () => {
    const weak: number[] = []
    const notes = { ...quiet, weak: (bytes: number) => weak.push(bytes) }
    new CookieKeeper({ cookie: 'secret123456', sharedFile: '' }, notes).close()
    new CookieKeeper({ cookie: makeCookie(), sharedFile: '' }, notes).close()
    expect(weak).toEqual([12])
  })
})

describe('changing it', () => {
  it('goes by add, use, drop, and in no other order', () => {
    const path = file('the-old-cookie\n')
    const cookies = () => textOf(readCookieFile(path))
    expect(() => rotateCookieFile(path, 'use')).toThrow(/add another first/)
    rotateCookieFile(path, 'add')
    const [, fresh] = cookies() as [string, string]
    expect(cookies()).toEqual(['the-old-cookie', fresh])
    expect(() => rotateCookieFile(path, 'add')).toThrow(/two cookies already/)
    rotateCookieFile(path, 'use')
    expect(cookies()).toEqual([fresh, 'the-old-cookie'])
    rotateCookieFile(path, 'drop')
    expect(cookies()).toEqual([fresh])
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  it('is followed; a file that cannot be used changes nothing', async () => {
    const path = file('the-old-cookie\n')
    const seen: string[] = []
    const keeper = new CookieKeeper(
      { cookieFile: path, sharedFile: '' },
      { ...quiet, changed: (c) => seen.push(textOf(c).join('+')), refused: (detail) => seen.push(detail) },
      5,
    )
    writeFileSync(path, 'x\n')
    await until(
      'the refusal',
      () => seen.length === 1,
      () => seen,
    )
    expect(textOf(keeper.current)).toEqual(['the-old-cookie'])
    expect(seen[0]).not.toContain('old-cookie')
    writeFileSync(path, 'the-new-cookie\nthe-old-cookie\n')
    await until(
      'the change',
      () => seen.length === 2,
      () => seen,
    )
    expect(seen[1]).toBe('the-new-cookie+the-old-cookie')
    keeper.close()
  })
})
