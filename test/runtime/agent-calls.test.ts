/** Calls of defined agents, part by part and together, in one process: the journal and the mesh between the parts are the test's. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { emptyEntry } from '../../src/core/agents/table.js'
import { asEpoch, asLeaseId, type Epoch, type LeaseId } from '../../src/core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../src/core/kernel/error.js'
import type { Checkpoint } from '../../src/ports/journal.js'
import { InlineBody } from '../../src/runtime/agents/body.js'
import { AgentCaller } from '../../src/runtime/agents/caller.js'
import { DefinedAgent, type HandedState } from '../../src/runtime/agents/defined-agent.js'
import { type AgentContext, type AgentDefinition, defineAgent } from '../../src/runtime/agents/definition.js'
import { AgentDirectory } from '../../src/runtime/agents/directory.js'
import {
  type CallFrame,
  type CallReply,
  packCall,
  packReply,
  unpackCall,
  unpackReply,
} from '../../src/runtime/agents/frames.js'
import { Handovers, sendState, tokenOf } from '../../src/runtime/agents/handover.js'
import { Ledger } from '../../src/runtime/agents/ledger.js'
import { packData, unpackData } from '../../src/runtime/agents/packing.js'
import { pack } from '../../src/runtime/mesh-frames.js'
import { specOf } from '../core/agents-bench.js'

const lease = asLeaseId('lease')

/** Lets everything that can go on go on. */
const turns = async (count = 20): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

class Gate {
  open: () => void = () => {}
  readonly passed = new Promise<void>((resolve) => {
    this.open = resolve
  })
}

interface Log {
  readonly seen: number[]
}

/** Notes what it was told, in order; waits at a gate where the test put one. */
class Kind {
  readonly gates = new Map<number, Gate>()
  readonly ran: number[] = []
  readonly definition = defineAgent('log', {
    state: (): Log => ({ seen: [] }),
    on: {
      note: async (ctx: AgentContext<Log>, n: number) => {
        this.ran.push(n)
        await this.gates.get(n)?.passed
        ctx.state.seen.push(n)
        return ctx.state.seen.length
      },
      read: (ctx: AgentContext<Log>) => [...ctx.state.seen],
      fail: () => {
        throw new Error('not today')
      },
      spoil: (ctx: AgentContext<Log>) => {
        ;(ctx.state as { seen: unknown[] }).seen.push(() => 1)
      },
    },
  })
}

/** One run of an agent, with a journal that does what the test says. */
class Run {
  readonly reports: string[] = []
  readonly saves: Checkpoint[] = []
  mayAct = true
  nowMs = 1_000
  loads: () => Promise<Checkpoint | undefined> = async () => undefined
  onSave: (checkpoint: Checkpoint) => Promise<void> = async () => {}
  readonly agent: DefinedAgent
  private seq = 0

  constructor(kind: Kind, epoch: Epoch = asEpoch(1), over: Parameters<typeof specOf>[1] = {}) {
    const facts = { name: 'a', kind: 'log', epoch, nodeId: 'n', config: null }
    this.agent = new DefinedAgent(
      {
        nowMs: () => this.nowMs,
        wallMs: () => this.nowMs,
        mayAct: () => this.mayAct,
        load: () => this.loads(),
        save: async (_: LeaseId, checkpoint) => {
          await this.onSave(checkpoint)
          this.saves.push(checkpoint)
        },
        body: (reach) => new InlineBody(kind.definition as unknown as AgentDefinition, facts, reach),
        reach: { publish: async () => {}, call: async () => undefined, log: () => {} },
        report: (outcome, detail, floor) => this.reports.push(`${outcome} ${detail} ${floor}`.trim()),
        log: () => {},
      },
      specOf('a', { kind: 'log', ...over }),
      epoch,
      lease,
    )
  }

  async started(handed?: HandedState): Promise<this> {
    await this.agent.start(handed)
    return this
  }

  frame(method: string, args: unknown[], over: Partial<CallFrame> = {}): CallFrame {
    const seq = over.seq ?? ++this.seq
    return {
      name: 'a',
      caller: 'me',
      seq,
      prev: 0,
      acked: 0,
      method,
      args: packData(args, 'arguments'),
      timeoutMs: 10_000,
      ...over,
    }
  }

  async call(method: string, args: unknown[] = [], over: Partial<CallFrame> = {}): Promise<unknown> {
    return outcomeOf(await this.agent.call(this.frame(method, args, over)))
  }
}

/** The result, or `code: message`, or `again`. */
function outcomeOf(reply: CallReply): unknown {
  if (reply.kind === 'result') return unpackData(reply.result, 'result')
  return reply.kind === 'again' ? 'again' : `${reply.error.code}: ${reply.error.message}`
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: unknown) => (isSkeinError(error) ? error.code : String(error)),
  )

describe('the ledger of calls', () => {
  const frame = (seq: number, over: Partial<CallFrame> = {}) => ({
    caller: 'c',
    seq,
    prev: 0,
    acked: 0,
    ...over,
  })
  const answer = (seq: number) => ({ seq, isError: false, body: new Uint8Array([seq]) })

  it('knows what is new, what was done, and what came out of turn', () => {
    const ledger = new Ledger()
    expect(ledger.check(frame(1), 0)).toBe('new')
    expect(ledger.check(frame(2, { prev: 1 }), 0)).toBe('gap')
    expect(ledger.check(frame(2, { prev: 1 }), 1)).toBe('new')
    ledger.record(frame(1), answer(1), 0)
    expect(ledger.check(frame(1), 0)).toBe('done')
    expect(ledger.check(frame(2, { prev: 1 }), 0)).toBe('new')
    expect(ledger.answer('c', 1)?.body).toEqual(new Uint8Array([1]))
    expect(ledger.check(frame(1, { caller: 'other' }), 0)).toBe('new')
  })

  it('keeps answers until they are acknowledged, and no more than a thousand and twenty-four', () => {
    const ledger = new Ledger()
    for (let seq = 1; seq <= 5; seq++) ledger.record(frame(seq, { acked: seq - 3 }), answer(seq), 0)
    expect([1, 2, 3, 4, 5].map((seq) => ledger.answer('c', seq) !== undefined)).toEqual([
      false,
      false,
      true,
      true,
      true,
    ])
    for (let seq = 6; seq <= 2_000; seq++) ledger.record(frame(seq), answer(seq), 0)
    expect(ledger.rows(0)[0]?.[3]).toHaveLength(1_024)
    expect(ledger.answer('c', 2_000)).toBeDefined()
  })

  it('travels whole, but for callers that were silent for ten minutes', () => {
    const ledger = new Ledger()
    ledger.record(frame(7, { caller: 'old' }), answer(7), 0)
    ledger.record(frame(9, { caller: 'new' }), answer(9), 500_000)
    const other = new Ledger()
    other.load(ledger.rows(650_000))
    expect(other.check(frame(7, { caller: 'old' }), 0)).toBe('new')
    expect(other.check(frame(9, { caller: 'new' }), 0)).toBe('done')
    expect(other.answer('new', 9)).toEqual(answer(9))
  })

  it('knows a thousand callers, and forgets the least lately used first', () => {
    const ledger = new Ledger()
    for (let i = 0; i < 1_000; i++) ledger.record(frame(1, { caller: `c${i}` }), answer(1), i)
    ledger.record(frame(2, { caller: 'c0' }), answer(2), 2_000)
    ledger.record(frame(1, { caller: 'one more' }), answer(1), 2_001)
    expect(ledger.rows(2_001)).toHaveLength(1_000)
    expect(ledger.check(frame(1, { caller: 'c0' }), 0)).toBe('done')
    expect(ledger.check(frame(1, { caller: 'c1' }), 0)).toBe('new')
  })
})

describe('a defined agent', () => {
  it('answers when what the call changed is saved, and not before', async () => {
    const run = await new Run(new Kind()).started()
    const gate = new Gate()
    run.onSave = () => gate.passed
    let answered = false
    const call = run.call('note', [5]).finally(() => {
      answered = true
    })
    await turns()
    expect(answered).toBe(false)
    gate.open()
    expect(await call).toBe(1)
    expect(run.saves.at(-1)?.seq).toBeGreaterThan(run.saves.at(-2)?.seq ?? 0)
  })

  it('lets calls share a save while another is under way', async () => {
    const run = await new Run(new Kind()).started()
    const before = run.saves.length
    const gate = new Gate()
    run.onSave = () => gate.passed
    const calls = Array.from({ length: 50 }, (_, i) => run.call('note', [i], { prev: i }))
    await turns(100)
    gate.open()
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
    expect(run.saves.length - before).toBe(2)
  })

  it('keeps a call that comes while its state is being read, and knows whether it was carried out before', async () => {
    const kind = new Kind()
    const former = await new Run(kind).started()
    await former.call('note', [1])
    const gate = new Gate()
    const run = new Run(kind, asEpoch(2))
    run.loads = async () => {
      await gate.passed
      return former.saves.at(-1)
    }
    const starting = run.agent.start(undefined)
    const calls = [run.call('note', [1], { seq: 1 }), run.call('note', [2], { seq: 2 })]
    await turns()
    expect(kind.ran).toEqual([1])
    gate.open()
    await starting
    expect(await Promise.all(calls)).toEqual([1, 2])
    expect(kind.ran).toEqual([1, 2])
  })

  it('keeps a thousand of those, and says so to the next', async () => {
    const run = new Run(new Kind())
    const gate = new Gate()
    run.loads = async () => {
      await gate.passed
      return undefined
    }
    const starting = run.agent.start(undefined)
    const calls = Array.from({ length: 1_000 }, (_, i) => run.call('note', [i], { prev: i }))
    expect(await run.call('note', [1_000], { prev: 1_000 })).toMatch(/^overloaded/)
    gate.open()
    await starting
    expect((await Promise.all(calls)).at(-1)).toBe(1_000)
  })

  it('carries a call out once that comes again while it is carried out, waits in the queue or is being saved', async () => {
    const kind = new Kind()
    const run = await new Run(kind).started()
    const at = new Gate()
    kind.gates.set(1, at)
    const save = new Gate()
    run.onSave = () => save.passed
    const first = [run.call('note', [1], { seq: 1 }), run.call('note', [1], { seq: 1 })]
    const second = [run.call('note', [2], { seq: 2, prev: 1 }), run.call('note', [2], { seq: 2, prev: 1 })]
    await turns()
    expect(kind.ran).toEqual([1])
    at.open()
    await turns()
    // Now both wait for the journal.
    first.push(run.call('note', [1], { seq: 1 }))
    second.push(run.call('note', [2], { seq: 2, prev: 1 }))
    await turns()
    save.open()
    expect(await Promise.all(first)).toEqual([1, 1, 1])
    expect(await Promise.all(second)).toEqual([2, 2, 2])
    // And long after.
    expect(await run.call('note', [1], { seq: 1 })).toBe(1)
    expect(kind.ran).toEqual([1, 2])
  })

  it('sends back what comes before its turn, and says what it cannot do', async () => {
    const run = await new Run(new Kind()).started()
    expect(await run.call('note', [2], { seq: 2, prev: 1 })).toBe('again')
    expect(await run.call('nothing', [], { seq: 1 })).toMatch(/^not_found/)
    expect(await run.call('fail', [], { seq: 2, prev: 1 })).toMatch(/^handler_failed: a.fail: not today/)
    // The same error for the same call.
    expect(await run.call('fail', [], { seq: 2, prev: 1 })).toMatch(/^handler_failed: a.fail: not today/)
  })

  it('lets a thousand calls wait, and says so to the next', async () => {
    const kind = new Kind()
    const run = await new Run(kind).started()
    const gate = new Gate()
    kind.gates.set(0, gate)
    const calls = Array.from({ length: 1_001 }, (_, i) => run.call('note', [i], { prev: i }))
    await turns()
    expect(await run.call('note', [9], { prev: 1_001 })).toMatch(/^overloaded/)
    gate.open()
    expect((await Promise.all(calls)).at(-1)).toBe(1_001)
  })

  it('does not begin a call whose time is over', async () => {
    const kind = new Kind()
    const run = await new Run(kind).started()
    const gate = new Gate()
    kind.gates.set(1, gate)
    const first = run.call('note', [1])
    const late = run.call('note', [2], { timeoutMs: 50, prev: 1 })
    await turns()
    run.nowMs += 51
    gate.open()
    expect(await late).toMatch(/^timeout/)
    expect(await first).toBe(1)
    expect(kind.ran).toEqual([1])
  })

  it('refuses calls while it is paused, but not what it has taken already', async () => {
    const kind = new Kind()
    const run = await new Run(kind).started()
    const gate = new Gate()
    kind.gates.set(1, gate)
    const taken = [run.call('note', [1], { seq: 1 }), run.call('note', [2], { seq: 2, prev: 1 })]
    await turns()
    run.agent.pause(true)
    gate.open()
    expect(await taken[0]).toBe(1)
    // It will be carried out: to say that it was refused would be wrong.
    taken.push(run.call('note', [2], { seq: 2, prev: 1 }))
    expect(await run.call('note', [3], { seq: 3, prev: 2 })).toMatch(/^conflict: agent "a" is paused/)
    expect(await run.call('note', [1], { seq: 1 })).toBe(1)
    run.agent.pause(false)
    expect(await Promise.all(taken.slice(1))).toEqual([2, 2])
    expect(kind.ran).toEqual([1, 2])
  })

  it('saves until the journal is back', async () => {
    const run = await new Run(new Kind()).started()
    let failures = 3
    run.onSave = async () => {
      if (failures-- > 0) throw new SkeinError('unavailable', 'the journal is away')
    }
    expect(await run.call('note', [1])).toBe(1)
    expect(failures).toBe(-1)
  })

  it('answers nothing any more when it may not act: the caller is to ask again', async () => {
    const kind = new Kind()
    const run = await new Run(kind).started()
    const gate = new Gate()
    kind.gates.set(1, gate)
    const calls = [run.call('note', [1]), run.call('note', [2], { prev: 1 })]
    await turns()
    run.mayAct = false
    gate.open()
    expect(await calls[0]).toMatch(/^outcome_unknown/)
    expect(await calls[1]).toBe('again')
    expect(kind.ran).toEqual([1])
  })

  it('fails with a state that cannot be kept, rather than build upon it', async () => {
    const run = await new Run(new Kind()).started()
    expect(await run.call('spoil')).toMatch(/cannot be packed/)
    await turns()
    expect(run.reports.at(-1)).toMatch(/^failed its state cannot be saved/)
    expect(await run.call('note', [1])).toBe('again')
  })

  it('does not start under an epoch below that of its state', async () => {
    const run = new Run(new Kind(), asEpoch(3))
    run.loads = async () => ({ agent: 'a', epoch: asEpoch(7), seq: 1, state: new Uint8Array() })
    await run.started()
    expect(run.reports).toEqual(['refused the journal holds a state of epoch 7 7'])
  })

  it('fences a former owner by a save of its own before it answers, unless it was handed the state', async () => {
    const kind = new Kind()
    const first = await new Run(kind, asEpoch(1)).started()
    expect(first.saves.map((s) => s.epoch)).toEqual([1])
    await first.agent.stop('moved')
    const second = await new Run(kind, asEpoch(2)).started(first.agent.lastState())
    expect(second.saves).toEqual([])
  })

  it('lets the present call end when it moves, sends back the others, and keeps what onStop did', async () => {
    const kind = new Kind()
    const run = await new Run(kind).started()
    const gate = new Gate()
    kind.gates.set(1, gate)
    const calls = [run.call('note', [1]), run.call('note', [2], { prev: 1 })]
    await turns()
    const stopped = run.agent.stop('moved')
    expect(await calls[1]).toBe('again')
    gate.open()
    expect(await calls[0]).toBe(1)
    await stopped
    expect(await run.call('note', [3])).toBe('again')
    const next = await new Run(kind, asEpoch(2)).started(run.agent.lastState())
    expect(await next.call('read', [], { seq: 2 })).toEqual([1])
    expect(await next.call('note', [1], { seq: 1 })).toBe(1)
    expect(kind.ran).toEqual([1])
  })
})

/** A caller, and nodes that are reached by name. The directory says what the test tells it. */
class Net {
  readonly directory = new AgentDirectory()
  readonly runs = new Map<string, (frame: CallFrame) => Promise<CallReply>>()
  readonly caller: AgentCaller
  /** Decides over each frame on its way. */
  onWay: (frame: CallFrame) => 'through' | 'lost' | 'answer lost' = () => 'through'

  constructor() {
    this.caller = new AgentCaller({
      caller: 'boot',
      selfId: 'self',
      directory: this.directory,
      nowMs: () => performance.now(),
      address: (nodeId) => nodeId,
      callHere: () => Promise.reject(new Error('runs nothing')),
      request: async (address, body) => {
        const frame = unpackCall(body)
        const fate = this.onWay(frame)
        const lost = new SkeinError('peer_unreachable', 'the connection broke', { retryable: true })
        if (fate === 'lost') throw lost
        const run = this.runs.get(address)
        if (run === undefined) throw lost
        const reply = packReply(await run(frame))
        if (fate === 'answer lost') throw lost
        return reply
      },
    })
  }

  assign(nodeId: string, epoch: number, over: Parameters<typeof specOf>[1] = {}): void {
    const at = {
      nodeId,
      lease,
      epoch: asEpoch(epoch),
      assignedAtMs: 0,
      to: null,
      by: '',
      moveId: '',
      state: '',
    }
    this.directory.update(false, [
      {
        ...emptyEntry('a'),
        spec: specOf('a', over),
        specRev: 1n,
        at,
        atRev: BigInt(epoch),
      },
    ])
  }

  note(n: number, timeoutMs = 20_000): Promise<unknown> {
    return this.caller
      .call('a', 'note', packData([n], 'arguments'), timeoutMs)
      .then((bytes) => unpackData(bytes, 'result'))
  }
}

describe('the caller', () => {
  it('crosses the mesh with frames that come back as they were', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(), fc.nat(), fc.uint8Array(), (text, seq, timeoutMs, bytes) => {
        const args = Buffer.from(bytes)
        const frame = { name: text, caller: text, seq, prev: 1, acked: 2, method: text, args, timeoutMs }
        expect(unpackCall(packCall(frame))).toEqual(frame)
        const replies: CallReply[] = [
          { kind: 'result', result: args },
          { kind: 'again', detail: text, hint: null },
          { kind: 'again', detail: text, hint: text },
        ]
        for (const reply of replies) expect(unpackReply(packReply(reply))).toEqual(reply)
      }),
    )
    const error = new SkeinError('handler_failed', 'no', { details: { name: 'E' }, retryable: false })
    const reply = unpackReply(packReply({ kind: 'error', error }))
    expect(reply).toMatchObject({ error: { code: 'handler_failed', message: 'no', details: { name: 'E' } } })
    expect(() => unpackCall(pack(['a', 1]))).toThrow('malformed')
    expect(() => unpackReply(pack('a'))).toThrow('malformed')
  })

  it.each([1, 2, 3])(
    'keeps order and carries out once, over moves and broken connections (seed %i)',
    async (seed) => {
      const net = new Net()
      const kind = new Kind()
      let random = seed
      const chance = (): number => {
        random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fffffff
        return random / 0x7fffffff
      }
      net.onWay = () => {
        const x = chance()
        return x < 0.05 ? 'lost' : x < 0.1 ? 'answer lost' : 'through'
      }
      let run = await new Run(kind, asEpoch(1)).started()
      const serve = (nodeId: string): void => {
        const { agent } = run
        net.runs.set(nodeId, (frame) => agent.call(frame))
      }
      serve('n1')
      net.assign('n1', 1)
      const calls = Array.from({ length: 300 }, (_, i) => net.note(i))
      for (let epoch = 2; epoch <= 6; epoch++) {
        await Promise.race([calls[epoch * 40], turns(10 + epoch)])
        const former = run
        await former.agent.stop('moved')
        run = await new Run(kind, asEpoch(epoch)).started(former.agent.lastState())
        serve(`n${epoch}`)
        former.agent.movedTo(`n${epoch}`)
        if (chance() < 0.5) await turns(5)
        net.assign(`n${epoch}`, epoch)
      }
      expect(await Promise.all(calls)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
      expect(kind.ran).toEqual(Array.from({ length: 300 }, (_, i) => i))
      net.caller.close()
    },
  )

  it('goes on from the journal when the node dies with the answer', async () => {
    const net = new Net()
    const kind = new Kind()
    const first = await new Run(kind, asEpoch(1)).started()
    net.runs.set('n1', (frame) => first.agent.call(frame))
    net.assign('n1', 1)
    net.onWay = (frame) => (frame.seq === 2 ? 'answer lost' : 'through')
    expect(await net.note(1)).toBe(1)
    const second = net.note(2)
    await turns()
    net.runs.delete('n1')
    first.mayAct = false
    net.onWay = () => 'through'
    const next = new Run(kind, asEpoch(2))
    next.loads = async () => first.saves.at(-1)
    await next.started()
    net.runs.set('n2', (frame) => next.agent.call(frame))
    net.assign('n2', 2)
    expect(await second).toBe(2)
    expect(kind.ran).toEqual([1, 2])
    net.caller.close()
  })

  it('says whether a call that timed out may have been carried out', async () => {
    const net = new Net()
    net.directory.update(false, [{ ...emptyEntry('a'), spec: specOf('a'), specRev: 1n }])
    const notSent = await net.note(1, 30).catch((e: unknown) => e as SkeinError)
    expect(notSent).toMatchObject({ code: 'timeout', retryable: true, details: { outcome: 'not_done' } })
    expect((notSent as SkeinError).message).toContain('no node yet')
    net.assign('n1', 1)
    net.runs.set('n1', () => new Promise(() => {}))
    const sent = await net.note(2, 30).catch((e: unknown) => e as SkeinError)
    expect(sent).toMatchObject({ code: 'timeout', retryable: false, details: { outcome: 'unknown' } })
    net.caller.close()
  })

  it('does not wait for what cannot come', async () => {
    const net = new Net()
    expect(await codeOf(net.note(1))).toBe('not_found')
    net.assign('n1', 1, { desired: 'removed' })
    expect(await codeOf(net.note(1))).toBe('not_found')
    net.assign('n1', 2)
    const entry = net.directory.get('a')
    if (entry === undefined) throw new Error('no entry')
    const end = {
      epoch: asEpoch(2),
      outcome: 'completed',
      detail: 'done',
      generation: 0,
      floor: asEpoch(0),
    } as const
    net.directory.update(false, [{ ...entry, end, endRev: 3n }])
    expect(await codeOf(net.note(1))).toBe('conflict')
    net.caller.close()
  })

  it('lets a thousand calls to one agent wait, and says so to the next; closing ends them all', async () => {
    const net = new Net()
    net.directory.update(false, [{ ...emptyEntry('a'), spec: specOf('a'), specRev: 1n }])
    const waiting = Array.from({ length: 1_000 }, (_, i) => codeOf(net.note(i)))
    expect(await codeOf(net.note(1_000))).toBe('overloaded')
    net.caller.close()
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['closed']))
  })

  it('remembers ten thousand agents, forgets who waits for nothing, and refuses the next when all wait', async () => {
    const net = new Net()
    const call = (name: string) => codeOf(net.caller.call(name, 'note', packData([1], 'arguments'), 20_000))
    // These are answered at once: nobody has heard of them.
    for (let i = 0; i < 10_500; i++) expect(await call(`none-${i}`)).toBe('not_found')
    const entries = Array.from({ length: 10_001 }, (_, i) => ({
      ...emptyEntry(`b${i}`),
      spec: specOf(`b${i}`),
      specRev: 1n,
    }))
    net.directory.update(false, entries)
    const waiting = Array.from({ length: 10_000 }, (_, i) => call(`b${i}`))
    expect(await call('b10000')).toBe('overloaded')
    net.caller.close()
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['closed']))
  })
})

describe('a state on its way', () => {
  const stateOf = (bytes: number, epoch = 1, fill = 7): HandedState => {
    const content = new Uint8Array(bytes)
    for (let i = 0; i < bytes; i += 97) content[i] = (i * fill) & 0xff
    return { epoch, seq: 1, bytes: content }
  }
  const piece = 256 * 1024
  // Byte by byte in one go: a matcher that looks at each takes seconds for a megabyte.
  const expectState = (found: HandedState | undefined, { epoch, seq, bytes }: HandedState) => {
    expect([found?.epoch, found?.seq]).toEqual([epoch, seq])
    expect(Buffer.compare(found?.bytes ?? new Uint8Array(), bytes)).toBe(0)
  }

  it.each([0, 1, piece, piece + 1, 3 * piece - 5])('of %i bytes arrives whole, once', async (bytes) => {
    const there = new Handovers(() => 0)
    const state = stateOf(bytes)
    await sendState('a', state, async (body) => there.receive(body))
    const token = tokenOf('a', state)
    expect(there.take('other', token)).toBeUndefined()
    expect(there.take('a', 'another token')).toBeUndefined()
    expectState(there.take('a', token), state)
    expect(there.take('a', token)).toBeUndefined()
  })

  it('goes on where it was cut off, and sends only what has changed since', async () => {
    const there = new Handovers(() => 0)
    const state = stateOf(5 * piece)
    let frames = 0
    const cut = sendState('a', state, async (body) => {
      if (++frames > 3) throw new SkeinError('peer_unreachable', 'cut off')
      return there.receive(body)
    })
    await expect(cut).rejects.toThrow('cut off')
    expect(there.take('a', tokenOf('a', state))).toBeUndefined()
    const sent: Uint8Array[] = []
    const count = async (body: Uint8Array) => {
      sent.push(body)
      return there.receive(body)
    }
    await sendState('a', state, count)
    // The offer, and three of five pieces.
    expect(sent).toHaveLength(4)
    const changed = { ...state, seq: 2, bytes: Uint8Array.from(state.bytes) }
    changed.bytes[2 * piece] = 255
    sent.length = 0
    await sendState('a', changed, count)
    expect(sent).toHaveLength(2)
    expectState(there.take('a', tokenOf('a', changed)), changed)
  })

  it('is not taken when a piece is not what was announced', async () => {
    const there = new Handovers(() => 0)
    const state = stateOf(2 * piece)
    let frames = 0
    const spoiled = sendState('a', state, async (body) => {
      const copy = Uint8Array.from(body)
      if (++frames === 2) copy[copy.length - 10] = (copy[copy.length - 10] ?? 0) ^ 1
      return there.receive(copy)
    })
    await expect(spoiled).rejects.toMatchObject({ code: 'corrupt' })
    expect(there.take('a', tokenOf('a', state))).toBeUndefined()
  })

  it('is refused where nobody asked for it, or where it says of itself what cannot be', async () => {
    const there = new Handovers(() => 0)
    const refused = (body: unknown) => {
      try {
        there.receive(pack(body))
        return 'taken'
      } catch (error) {
        return (error as SkeinError).code
      }
    }
    expect(refused(['piece', 'a', 1, 1, 0, new Uint8Array(1)])).toBe('not_found')
    expect(refused('offer')).toBe('protocol_violation')
    expect(refused(['other'])).toBe('protocol_violation')
    for (const head of [
      ['a', 1, 1, -1, ['x']],
      ['a', 1, 1, 10, []],
      ['a', 1, 1, 10, ['x', 'y']],
      ['a', 1, 1, 'ten', ['x']],
      [7, 1, 1, 10, ['x']],
    ])
      expect(refused(['offer', head, []]), JSON.stringify(head)).toBe('protocol_violation')
  })

  it('is kept for a minute, and no more than 256 MiB of them are', async () => {
    let nowMs = 0
    const there = new Handovers(() => nowMs)
    const offer = (name: string, bytes: number) =>
      there.receive(pack(['offer', [name, 1, 1, bytes, Array(Math.ceil(bytes / piece)).fill('x')], []]))
    offer('a', 200 * 1024 * 1024)
    // The same one again is not counted twice.
    offer('a', 200 * 1024 * 1024)
    expect(() => offer('b', 100 * 1024 * 1024)).toThrow('wait here already')
    nowMs = 60_001
    offer('b', 100 * 1024 * 1024)
    const state = stateOf(10)
    await sendState('c', state, async (body) => there.receive(body))
    nowMs = 130_000
    expect(there.take('c', tokenOf('c', state))).toBeUndefined()
  })
})
