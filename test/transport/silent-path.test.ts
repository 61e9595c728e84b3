/** What a network leaves behind that lost everything for a while: connections that TCP itself takes up again only much later. */
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { boundPort, codeOf, Nodes } from './kit.js'
import { Path } from './path.js'

const nodes = new Nodes()
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

const paths: Path[] = []
afterEach(async () => {
  await nodes.end()
  for (const path of paths.splice(0)) path.close()
})
afterAll(() => nodes.remove())

async function throughPath(names: readonly [string, string], slowMs = 0) {
  let realPort = 0
  const path = await Path.open(() => realPort)
  paths.push(path)
  const a = await nodes.open(names[0])
  const b = await nodes.open(
    names[1],
    { advertisePort: path.port },
    {},
    ({ body, reply }) => void setTimeout(() => reply?.(body), slowMs),
  )
  realPort = boundPort(b.transport)
  const ask = (timeoutMs: number) =>
    codeOf(a.transport.request(b.address, 1, Buffer.from('there?'), { timeoutMs }))
  return { path, ask, a, b }
}

describe('a connection that answers nothing any more', () => {
  // The name decides which of two connections made at once is kept; here the one who asks must win with either.
  for (const names of [
    ['a', 'b'],
    ['z', 'b'],
  ] as const)
    it(`is replaced by another within seconds, seen by ${names[0]}`, async () => {
      const { path, ask } = await throughPath(names)
      expect(await ask(2_000)).toBe('ok')
      await sleep(5_200)
      path.swallow()
      expect(await ask(1_000)).toBe('timeout')
      const fromMs = performance.now()
      while ((await ask(500)) !== 'ok') expect(performance.now() - fromMs).toBeLessThan(6_000)
      expect(path.opened).toBe(2)
    }, 30_000)

  it('is kept while somebody is there who works for long', async () => {
    const { path, ask } = await throughPath(['a', 'b'], 9_000)
    expect(await ask(12_000)).toBe('ok')
    expect(path.opened).toBe(1)
  }, 30_000)
})
