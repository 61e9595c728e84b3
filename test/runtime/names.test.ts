/** Names on both sides of a partition, which is made by hand: whose they are afterwards, and who is told. */
import { describe, expect, it } from 'vitest'
import { asBootId, asLeaseId, type LeaseId } from '../../src/core/kernel/brand.js'
import { SkeinError } from '../../src/core/kernel/error.js'
import type { Transaction, TransactionResult } from '../../src/core/kernel/store-types.js'
import type { FrameHandler } from '../../src/ports/transport.js'
import type { Fabric } from '../../src/runtime/fabric.js'
import { RegistryLink } from '../../src/runtime/registry-link.js'
import type { NameHandle } from '../../src/runtime/services/api-types.js'
import type { Caller } from '../../src/runtime/services/caller.js'
import { Names } from '../../src/runtime/services/names.js'
import type { Provider } from '../../src/runtime/services/provider.js'

type Frame = Parameters<FrameHandler>[0]

/** As many nodes as are asked for, on a wire that can be cut. */
class Wire {
  private readonly nodes: { readonly fabric: Fabric; readonly meet: () => void; readonly names: Names }[] = []
  private isCut = false
  private clock = 0
  lease: LeaseId | null = asLeaseId('l1')
  /** The store. */
  transact = async (_: Transaction): Promise<TransactionResult> =>
    ({ ok: true, rev: BigInt(++this.clock), results: [] }) as TransactionResult

  names(index: number): Names {
    return (this.nodes[index] as (typeof this.nodes)[number]).names
  }

  add(nodeId: string): void {
    const handlers = new Map<number, (frame: Frame) => void>()
    const listeners: (() => void)[] = []
    const wire = this
    const fabric = {
      nodeId,
      bootId: asBootId(`boot-${nodeId}`),
      clock: { now: () => `t${String(++this.clock).padStart(4, '0')}` },
      log: () => undefined,
      get peers() {
        return wire.isCut ? [] : wire.nodes.map((n) => n.fabric).filter((f) => f.nodeId !== nodeId)
      },
      handle: (type: number, handler: (frame: Frame) => void) => handlers.set(type, handler),
      onPeers: (listener: () => void) => listeners.push(listener),
      send: (to: string, type: number, body: Uint8Array) => {
        const target = this.nodes.find((n) => n.fabric.nodeId === to)
        if (this.isCut || target === undefined) return 'closed'
        const receive = (target.fabric as unknown as { handlers: typeof handlers }).handlers.get(type)
        setImmediate(() => receive?.({ from: { nodeId }, type, body } as unknown as Frame))
        return 'queued'
      },
      handlers,
    } as unknown as Fabric
    const rows = new RegistryLink(fabric)
    const slots = new Map<number, unknown>()
    const names = new Names({
      fabric,
      rows,
      provider: {
        add: (endpoint: unknown) => slots.set(slots.size + 1, endpoint).size,
        remove: () => undefined,
      } as unknown as Provider,
      caller: {} as Caller,
      currentLease: () => this.lease,
      transact: (transaction) => this.transact(transaction),
    })
    this.nodes.push({ fabric, names, meet: () => listeners.forEach((l) => void l()) })
    this.meet()
  }

  cut(): void {
    this.isCut = true
    this.meet()
  }

  heal(): void {
    this.isCut = false
    this.meet()
  }

  private meet(): void {
    for (const { meet } of this.nodes) meet()
  }
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
}

function pair(): Wire {
  const wire = new Wire()
  wire.add('n1')
  wire.add('n2')
  return wire
}

describe('a name registered on both sides of a partition', () => {
  it('is held by the earlier registration when they meet, and the other is told', async () => {
    const wire = pair()
    wire.cut()
    const lost: unknown[] = []
    await wire.names(1).api.register('x', { here: () => 2 })
    const onLost = (...told: unknown[]) => lost.push(told)
    await wire.names(0).api.register('x', { here: () => 1 }, { onLost })
    wire.heal()
    await settled()
    for (const i of [0, 1]) expect(wire.names(i).api.whereis('x')).toMatchObject({ nodeId: 'n2' })
    expect(lost).toEqual([['an earlier registration holds it', 'n2']])
    await expect(wire.names(0).api.unregister('x')).rejects.toMatchObject({ code: 'not_found' })
    await expect(wire.names(0).api.register('x', {})).rejects.toMatchObject({ code: 'conflict' })
  })

  it('stays registered, in line, where it is well known', async () => {
    const wire = pair()
    wire.cut()
    const told: string[] = []
    const kind = 'well_known'
    await wire.names(1).api.register('x', {}, { kind, onHeld: () => told.push('n2 holds') })
    await wire.names(0).api.register(
      'x',
      {},
      {
        kind,
        onHeld: () => told.push('n1 holds'),
        onLost: () => told.push('n1 stands back'),
      },
    )
    wire.heal()
    await settled()
    expect(wire.names(0).api.whereis('x')).toMatchObject({ nodeId: 'n2', successors: ['n1'] })
    await wire.names(1).api.unregister('x')
    await settled()
    expect(wire.names(1).api.whereis('x')).toMatchObject({ nodeId: 'n1', successors: [] })
    expect(told).toEqual(['n2 holds', 'n1 holds', 'n1 stands back', 'n1 holds'])
  })

  it('belongs to whom the store gave it, whoever was first', async () => {
    const wire = pair()
    wire.cut()
    const lost: string[] = []
    await wire.names(0).api.register('x', {}, { onLost: (reason) => lost.push(reason) })
    await wire.names(1).api.register('x', {}, { kind: 'store' })
    wire.heal()
    await settled()
    expect(wire.names(0).api.whereis('x')).toMatchObject({ nodeId: 'n2', kind: 'store' })
    expect(lost).toEqual(['it is registered through the store'])
  })
})

it('is refused where it is no text: the rows that come after it must reach the others', async () => {
  const wire = pair()
  for (const [name, handle] of [
    [5, {}],
    ['x', null],
  ] as unknown as [string, NameHandle][])
    await expect(wire.names(0).api.register(name, handle)).rejects.toMatchObject({ code: 'invalid_argument' })
  await wire.names(0).api.register('x', {})
  await settled()
  expect(wire.names(1).api.whereis('x')).toMatchObject({ nodeId: 'n1' })
})

describe('a name in the store', () => {
  it('goes with the lease', async () => {
    const wire = pair()
    const lost: string[] = []
    await wire.names(0).api.register('x', {}, { kind: 'store', onLost: (reason) => lost.push(reason) })
    await settled()
    expect(wire.names(1).api.whereis('x')).toMatchObject({ nodeId: 'n1' })
    wire.names(0).leaseLost()
    await settled()
    expect(wire.names(1).api.whereis('x')).toBeUndefined()
    expect(lost).toEqual(['the lease of this node was lost'])
    wire.lease = null
    await expect(wire.names(0).api.register('x', {}, { kind: 'store' })).rejects.toMatchObject({
      code: 'unavailable',
    })
  })

  it('is had by asking again where the store took it without an answer, and by one at a time', async () => {
    const wire = pair()
    const answer = wire.transact
    const value = new TextEncoder().encode('{"node_id":"n1","boot_id":"boot-n1"}')
    wire.transact = async () => {
      throw new SkeinError('timeout', 'no answer')
    }
    await expect(wire.names(0).api.register('x', {}, { kind: 'store' })).rejects.toMatchObject({
      code: 'timeout',
    })
    wire.transact = async (transaction) =>
      transaction.else === undefined
        ? answer(transaction)
        : ({ ok: false, rev: 7n, results: [{ kv: { value, modRev: 7n } }] } as unknown as TransactionResult)
    const first = wire.names(0).api.register('x', {}, { kind: 'store' })
    await expect(wire.names(0).api.register('x', {})).rejects.toMatchObject({ code: 'conflict' })
    await first
    await settled()
    expect(wire.names(1).api.whereis('x')).toMatchObject({ nodeId: 'n1', kind: 'store' })
    await expect(wire.names(1).api.register('x', {}, { kind: 'store' })).rejects.toMatchObject({
      code: 'conflict',
    })
  })
})
