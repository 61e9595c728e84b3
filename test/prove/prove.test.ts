import { describe, expect, it } from 'vitest'
import { prove } from './run-proof.js'

describe('the short proofs, with real processes', () => {
  it('loses nothing that was acknowledged while nodes are killed and stopped', async () => {
    const { code, said } = await prove('chaos', '9', '../shared/data', '500')
    expect(said).toContain('held')
    expect(code, said).toBe(0)
  }, 240_000)

  it('sees a killed node, elects, takes over, and takes a stopped one back', async () => {
    const { code, said } = await prove('failover', '1')
    expect(code, said).toBe(0)
  }, 120_000)

  it('never calls a node failed whose main thread stands still', async () => {
    const { code, said } = await prove('stall')
    expect(code, said).toBe(0)
  }, 120_000)

  it('never runs an agent twice at a time while nodes are killed and stopped', async () => {
    const { code, said } = await prove('agents', '30', '2', '1', '3')
    expect(code, said).toBe(0)
  }, 180_000)

  it('counts exactly what was acknowledged while a counter is migrated and its node killed', async () => {
    const { code, said } = await prove('counter', '8', '1')
    expect(code, said).toBe(0)
  }, 120_000)

  it('fails no call and loses no event while every node is drained, stopped and started again', async () => {
    const { code, said } = await prove('rolling', '1')
    expect(code, said).toBe(0)
  }, 240_000)

  it('speeds a stream up by processors elsewhere, and loses nothing when one is killed or frozen', async () => {
    const { code, said } = await prove('spawn', '600')
    expect(code, said).toBe(0)
  }, 300_000)

  it('brings the clients of a killed node back with all that was said meanwhile, once', async () => {
    const { code, said } = await prove('sessions', '100', '1')
    expect(code, said).toBe(0)
  }, 120_000)

  it('takes the user of an agent wrapper through the whole API: registers, polls, reports, falls silent, comes back', async () => {
    const { code, said } = await prove('rest-walk')
    expect(code, said).toBe(0)
  }, 180_000)

  it('answers bad input of every kind with its own clear error', async () => {
    const { code, said } = await prove('bad-input')
    expect(code, said).toBe(0)
  }, 180_000)

  it('changes cookies and certificates under load without losing a member or an event', async () => {
    const { code, said } = await prove('rotation', '--seconds', '1')
    expect(code, said).toBe(0)
  }, 180_000)

  it('is not changed by what somebody recorded of a join and of data, and says again', async () => {
    const { code, said } = await prove('replay', '--times', '1')
    expect(code, said).toBe(0)
  }, 180_000)

  it('bears mutated frames and fuzz on both ports: no crash, memory back, no secret anywhere', async () => {
    const { code, said } = await prove('hostile', '--frames', '2000', '--minutes', '0.1')
    expect(code, said).toBe(0)
  }, 240_000)

  it('detects and disseminates alike at ten and at a hundred nodes', async () => {
    const { code, said } = await prove('scale', '10,100')
    expect(code, said).toBe(0)
  }, 120_000)
})
