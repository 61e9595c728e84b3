/** Three nodes of one cluster in this process, over real sockets and files. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, type NodeConfig, type SkeinNode } from '../../src/index.js'

export interface ThreeNodes {
  readonly nodes: readonly [SkeinNode, SkeinNode, SkeinNode]
  stop(): Promise<void>
}

export async function startThree(
  configs: readonly Partial<NodeConfig>[] = [{}, {}, {}],
): Promise<ThreeNodes> {
  const dir = mkdtempSync(join(tmpdir(), 'skein-three-'))
  const nodes: SkeinNode[] = []
  const stop = async (): Promise<void> => {
    for (const node of nodes.reverse()) await node.stop({ deadlineMs: 2_000 })
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    for (let i = 0; i < 3; i++) {
      const first = nodes[0]
      nodes.push(
        await createNode({
          nodeId: `n${i + 1}`,
          dataDir: join(dir, `n${i + 1}`),
          peerPort: 0,
          port: 0,
          http: false,
          threads: 'inline',
          preset: 'local',
          shards: 8,
          logLevel: 'error',
          peers: first === undefined ? [] : [first.self.peerAddress],
          ...configs[i],
        }),
      )
    }
  } catch (error) {
    await stop()
    throw error
  }
  return { nodes: nodes as unknown as ThreeNodes['nodes'], stop }
}

/** Bounded; says what it waited for. */
export async function eventually(isTrue: () => boolean, what: string, withinMs = 10_000): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!isTrue()) {
    if (performance.now() > endMs) throw new Error(`waited ${withinMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
