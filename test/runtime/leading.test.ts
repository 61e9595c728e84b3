/** What a program wants done only by the leader: once in each term, and over before another can lead, unless that one took it by force. */
import { expect, it } from 'vitest'
import type { SkeinNode } from '../../src/index.js'
import { eventually, startThree } from './three-nodes.js'

interface Stint {
  readonly node: string
  readonly term: number
  isOver: boolean
}

it('is begun once in each term, and ends with it: by promotion, by giving it up, and by leaving', async () => {
  const cluster = await startThree()
  const stints: Stint[] = []
  const overlaps: string[] = []
  let forced = 0
  const begin = (node: SkeinNode): void => {
    node.leader.whileLeading((term, signal) => {
      const stint = { node: node.self.id, term, isOver: false }
      for (const other of stints)
        if (!other.isOver && term !== forced)
          overlaps.push(`${stint.node} in ${term} beside ${other.node} in ${other.term}`)
      stints.push(stint)
      signal.addEventListener('abort', () => {
        stint.isOver = true
      })
    })
  }
  const leading = (): SkeinNode | undefined => cluster.nodes.find((n) => n.leader.get()?.isSelf === true)
  const begun = (count: number): Promise<void> =>
    eventually(() => stints.length >= count && leading() !== undefined, `${count} stints`, 20_000)
  try {
    const [n1, n2, n3] = cluster.nodes
    for (const node of cluster.nodes) begin(node)
    await begun(1)
    forced = (stints[0] as Stint).term + 1
    await n2.leader.promote()
    await begun(2)
    await eventually(() => stints[0]?.isOver === true, 'the one before to hear of it')
    await n2.leader.stepDown()
    await begun(3)
    const left = leading() as SkeinNode
    await left.stop()
    await begun(4)
    const rest = [n1, n2, n3].filter((n) => n !== left)
    const next = rest.find((n) => n.leader.get()?.isSelf === true) as SkeinNode
    await next.stop()
    await begun(5)
    expect(overlaps).toEqual([])
    expect(stints.filter((s) => !s.isOver)).toHaveLength(1)
    const terms = stints.map((s) => s.term)
    expect(terms).toEqual([...new Set(terms)].sort((a, b) => a - b))
  } finally {
    await cluster.stop()
  }
  expect(stints.every((s) => s.isOver)).toBe(true)
}, 90_000)
