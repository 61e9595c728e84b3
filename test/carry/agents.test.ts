import { expect, it } from 'vitest'
import { atKey, encodePack, encodeSpec, packKey, specKey } from '../../src/core/agents/records.js'
import { AgentTable } from '../../src/core/agents/table.js'
import { asEpoch, asLeaseId, asTerm } from '../../src/core/kernel/brand.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonEncode } from '../../src/core/kernel/text.js'
import { MemoryStoreState } from '../../src/drivers/store-memory/memory-state.js'
import { type CarrySource, targetKeys } from '../../src/runtime/carry/carry-source.js'
import { specOf } from '../core/agents-bench.js'

it('agents that were assigned in a pack keep their assignments, though revisions are others there', () => {
  const names = ['alice', 'bob', 'gone']
  const source = new MemoryStoreState({ nowMs: () => 0, identity: 'source' })
  for (const name of names)
    source.txn({ then: [{ type: 'put', key: specKey(name), value: jsonEncode(encodeSpec(specOf(name))) }] })
  const place = { nodeId: 'n1', lease: asLeaseId('l1'), to: null, assignedAtMs: 5, by: 'drain', state: '' }
  const packed = names.map((name, i) => ({
    name,
    madeRev: source.get(specKey(name))?.createRev ?? 0n,
    at: { ...place, epoch: asEpoch(3 + i), moveId: `m${i}` },
  }))
  const key = packKey(asTerm(7), 1)
  source.txn({ then: [{ type: 'put', key, value: jsonEncode(encodePack(packed)) }] })
  source.txn({ then: [{ type: 'delete', key: specKey('gone') }] })

  const view = new StoreView()
  view.reset(source.list(''), source.rev)
  const keys = targetKeys(source.list(''), { view, hasMap: false } as CarrySource, [])
  const target = new MemoryStoreState({ nowMs: () => 0, identity: 'target' })
  target.txn({ then: [{ type: 'put', key: 'first', value: new Uint8Array() }] })
  for (const [name, value] of keys) target.txn({ then: [{ type: 'put', key: name, value }] })

  expect(target.list('agents/pack/')).toEqual([])
  expect(target.get(atKey('gone'))).toBeNull()
  const [before, after] = [new AgentTable(), new AgentTable()]
  before.reset(source.list(''))
  after.reset(target.list(''))
  for (const name of ['alice', 'bob']) {
    expect(after.get(name)?.at).toEqual(before.get(name)?.at)
    expect(after.get(name)?.at?.epoch).toBeGreaterThanOrEqual(3)
  }
})
