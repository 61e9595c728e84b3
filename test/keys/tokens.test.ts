/** The file of tokens: what is written, what is refused with its line, what a running node makes of a change. */
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createToken, loadTokens, parseTokens, removeToken, TokenKeeper } from '../../src/keys/tokens.js'
import { until } from '../transport/kit.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-tokens-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let files = 0
function fresh(): string {
  return join(dir, `tokens-${++files}`)
}

const quiet = { changed() {}, refused() {} }

describe('a token', () => {
  it('is 32 random bytes, and the file that knows it is its owner’s and does not hold it', () => {
    const file = fresh()
    const secret = createToken(file, 'operator', 'ci')
    expect(Buffer.from(secret.slice('skein_'.length), 'base64url')).toHaveLength(32)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readFileSync(file, 'utf8')).not.toContain(secret.slice(6, 20))
    expect(loadTokens(file)).toMatchObject([{ role: 'operator', name: 'ci' }])
    expect(createToken(file, 'viewer', 'eve')).not.toBe(secret)
  })

  it('keeps its name to itself', () => {
    const file = fresh()
    createToken(file, 'viewer', 'a')
    expect(() => createToken(file, 'admin', 'a')).toThrow(expect.objectContaining({ code: 'conflict' }))
  })

  it('is gone when it is removed, with comments and others kept', () => {
    const file = fresh()
    createToken(file, 'viewer', 'a')
    createToken(file, 'viewer', 'b')
    appendFileSync(file, '# viewer a is what it was')
    createToken(file, 'admin', 'c')
    removeToken(file, 'a')
    expect(loadTokens(file).map(({ name }) => name)).toEqual(['b', 'c'])
    expect(readFileSync(file, 'utf8')).toContain('# viewer a is what it was')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(() => removeToken(file, 'a')).toThrow(expect.objectContaining({ code: 'not_found' }))
  })
})

describe('a file', () => {
  it('with bad lines is refused with all of them, and repeats none', () => {
    const hash = `sha256:${'0'.repeat(64)}`
    const { mistakes } = parseTokens(
      `# fine\nviewer ok ${hash}\nking x ${hash}\nviewer b@d ${hash}\nviewer y skein_secret\nviewer ok ${hash}\nadmin z ${hash} more\n`,
    )
    expect(mistakes.map((text) => text.slice(0, 7))).toEqual([
      'line 3:',
      'line 4:',
      'line 5:',
      'line 6:',
      'line 7:',
    ])
    expect(mistakes.join()).not.toContain('skein_secret')
    const file = fresh()
    writeFileSync(file, 'nonsense\n', { mode: 0o600 })
    expect(() => new TokenKeeper(file, quiet)).toThrow(/line 1/)
  })

  it('that others can read, or that is not there, is refused', () => {
    const file = fresh()
    createToken(file, 'viewer', 'a')
    chmodSync(file, 0o640)
    expect(() => loadTokens(file)).toThrow(/chmod 600/)
    expect(() => loadTokens(fresh())).toThrow(/does not exist/)
  })

  it('is followed while it changes; a bad one changes nothing; an emptied one lets nobody in', async () => {
    const file = fresh()
    writeFileSync(file, '', { mode: 0o600 })
    const notes: string[] = []
    const keeper = new TokenKeeper(
      file,
      { changed: (n) => notes.push(`${n}`), refused: (detail) => notes.push(detail) },
      5,
    )
    expect(keeper.isRequired).toBe(false)
    const secret = createToken(file, 'viewer', 'a')
    const seen = () => notes
    await until('the new token', () => keeper.find(secret) !== undefined, seen)
    expect(keeper.isRequired).toBe(true)
    appendFileSync(file, 'rubbish\n')
    await until('the refusal', () => notes.some((text) => text.includes('line 2')), seen)
    expect(keeper.find(secret)?.name).toBe('a')
    writeFileSync(file, '')
    await until('the emptied file', () => keeper.find(secret) === undefined, seen)
    expect(keeper.isRequired).toBe(true)
    keeper.close()
  })
})
