import { copyFileSync, existsSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { SqliteLifeLocks } from '../../src/engines/sqlite/life-lock.js'
import { Fixtures } from './child.js'
import { makeDirectory, removeDirectory } from './directory.js'

const fixtures = new Fixtures()
const locks = new SqliteLifeLocks()
let directory = ''

beforeAll(() => fixtures.build())
afterAll(() => fixtures.remove())
beforeEach(() => {
  directory = makeDirectory()
})
afterEach(async () => {
  await fixtures.endChildren()
  removeDirectory(directory)
})

describe('the life lock', () => {
  it('proves the death of a killed process, as often as asked, and not a stopped one', async () => {
    const child = fixtures.start('life-holder', `${directory}/a.life`)
    const locator = await child.line(0)
    expect(locks.prove(locator)).toBe('alive')
    child.signal('SIGSTOP')
    expect(locks.prove(locator)).toBe('alive')
    await child.kill()
    expect(locks.prove(locator)).toBe('dead')
    expect(locks.prove(locator)).toBe('dead')
  })

  it('serves many nodes of one process', () => {
    const held = Array.from({ length: 8 }, (_, i) => locks.hold(`${directory}/${i}.life`))
    for (let round = 0; round < 3; round++) {
      for (const { locator } of held) expect(new SqliteLifeLocks().prove(locator)).toBe('alive')
    }
    held[0]!.release()
    held[0]!.release()
    expect(locks.prove(held[0]!.locator)).toBe('unknown')
    expect(held.slice(1).every(({ locator }) => locks.prove(locator) === 'alive')).toBe(true)
    for (const lock of held) lock.release()
    expect(readdirSync(directory)).toEqual([])
  })

  it('survives proofs by its own process when another process asks', async () => {
    const child = fixtures.start('life-holder', `${directory}/a.life`)
    const locator = await child.line(0)
    const own = locks.hold(`${directory}/b.life`)
    for (let i = 0; i < 20; i++) expect(locks.prove(own.locator)).toBe('alive')
    expect(() => locks.hold(`${directory}/b.life`)).toThrow(
      expect.objectContaining({ code: 'already_running' }),
    )
    expect(() => locks.hold(`${directory}/a.life`)).toThrow(
      expect.objectContaining({ code: 'already_running' }),
    )
    expect(locks.prove(own.locator)).toBe('alive')
    expect(locks.prove(locator)).toBe('alive')
    own.release()
  })

  it('says unknown after a clean release, never dead', async () => {
    const child = fixtures.start('life-holder', `${directory}/a.life`)
    const locator = await child.line(0)
    child.say('release')
    await child.line(1)
    expect(locks.prove(locator)).toBe('unknown')
    expect(existsSync(`${directory}/a.life`)).toBe(false)
  })

  it('says unknown of what it cannot know', async () => {
    const child = fixtures.start('life-holder', `${directory}/a.life`)
    const locator = await child.line(0)
    await child.kill()
    const [scope, path] = [locator.slice(0, locator.indexOf('/')), `${directory}/a.life`]
    expect(locks.prove(locator.replace(scope, 'another-boot'))).toBe('unknown')
    expect(locks.prove(`${scope}/${'0'.repeat(32)}:${path}`)).toBe('unknown')
    expect(locks.prove(path)).toBe('unknown')
    expect(locks.prove('')).toBe('unknown')
    copyFileSync(path, `${directory}/copy.life`)
    rmSync(path)
    expect(locks.prove(locator)).toBe('unknown')
    writeFileSync(path, 'not a database, but long enough to look at. '.repeat(50))
    expect(locks.prove(locator)).toBe('unknown')
  })

  it('clears away the files of boots that died long ago, and no others', async () => {
    const [dead, young] = [
      fixtures.start('life-holder', `${directory}/dead.life`),
      fixtures.start('life-holder', `${directory}/young.life`),
    ]
    await Promise.all([dead.line(0), young.line(0)])
    await Promise.all([dead.kill(), young.kill()])
    const living = locks.hold(`${directory}/living.life`)
    const longAgo = new Date(Date.now() - 48 * 3_600_000)
    for (const name of ['dead', 'living']) utimesSync(`${directory}/${name}.life`, longAgo, longAgo)
    const lock = locks.hold(`${directory}/new.life`)
    expect(
      readdirSync(directory)
        .filter((name) => name.endsWith('.life'))
        .sort(),
    ).toEqual(['living.life', 'new.life', 'young.life'])
    expect(locks.prove(living.locator)).toBe('alive')
    living.release()
    lock.release()
  })
})
