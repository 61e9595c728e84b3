/** What may end an agent: its node's death, its node's freeze, its guard's death; and what may not. All with real processes. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GuardRenewalSender } from '../../src/drivers/agent-guard/guard-renewals.js'
import { GuardedProcesses } from '../../src/drivers/agent-guard/guarded-processes.js'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import { SqliteLifeLocks } from '../../src/engines/sqlite/life-lock.js'
import {
  BareRenewals,
  Bench,
  buildFromSources,
  eventually,
  guardEntry,
  isAlive,
  marked,
  NodeProcess,
  removeFiles,
  shell,
} from './kit.js'

/** A process that stays, one in its group, and one that left for a session of its own. */
const family = 'sleep 1000 & echo in $!; setsid sleep 1001 & wait'

beforeAll(buildFromSources)
afterAll(removeFiles)

describe('a node that is killed', () => {
  it('takes its agents with it, and then the life lock of its guard is free', async () => {
    await using node = new NodeProcess()
    const { lifeLock, guardPid } = await node.opened()
    const pid = await node.start('alice', family)
    const child = await member(node, 'in')
    expect([pid, child, guardPid].map(isAlive)).toEqual([true, true, true])
    expect(new SqliteLifeLocks().prove(lifeLock)).toBe('alive')
    node.child.kill('SIGKILL')
    await eventually('the life lock is free', () => new SqliteLifeLocks().prove(lifeLock) === 'dead')
    expect([pid, child].map(isAlive)).toEqual([false, false])
    expect(marked(node.directory)).toEqual([])
  })

  it('whose agents do not heed signals takes them with it as well', async () => {
    await using node = new NodeProcess()
    const { lifeLock } = await node.opened()
    const pid = await node.start('stubborn', `trap '' TERM INT HUP; while :; do sleep 0.05; done`)
    node.child.kill('SIGKILL')
    await eventually('the life lock is free', () => new SqliteLifeLocks().prove(lifeLock) === 'dead')
    expect(isAlive(pid)).toBe(false)
  })
})

describe('a node that is frozen', () => {
  it('past its deadline has lost its agents while it is still frozen', async () => {
    await using node = new NodeProcess()
    const { lifeLock } = await node.opened()
    const pid = await node.start('alice', family)
    const child = await member(node, 'in')
    node.child.kill('SIGSTOP')
    await eventually('the life lock is free', () => new SqliteLifeLocks().prove(lifeLock) === 'dead')
    expect([pid, child].map(isAlive)).toEqual([false, false])
    expect(readFileSync(`/proc/${node.child.pid}/stat`, 'utf8')).toContain(' T ')
    node.child.kill('SIGCONT')
    const { detail } = await node.heard('lost')
    expect(detail).toContain('deadline passed')
  })

  it('for a moment keeps them', async () => {
    await using node = new NodeProcess()
    await node.opened()
    const pid = await node.start('alice', 'sleep 1000')
    for (let i = 0; i < 3; i++) {
      node.child.kill('SIGSTOP')
      await new Promise((resolve) => setTimeout(resolve, 300))
      node.child.kill('SIGCONT')
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
    expect(isAlive(pid)).toBe(true)
    node.say({ do: 'state', name: 'alice' })
    expect(await node.heard('state')).toMatchObject({ pid, isRunning: true })
  })
})

describe('a node whose main thread is blocked', () => {
  it('keeps its agents for as long as the control thread renews', async () => {
    await using node = new NodeProcess()
    await node.opened()
    const pid = await node.start('alice', 'while :; do echo turning; sleep 0.01; done')
    node.say({ do: 'block', ms: 3_000 })
    await node.heard('turning')
    expect(isAlive(pid)).toBe(true)
    node.say({ do: 'state', name: 'alice' })
    expect(await node.heard('state')).toMatchObject({ pid, isRunning: true })
  })

  it('loses them at once when the guard is killed, by the control thread', async () => {
    await using node = new NodeProcess()
    const { guardPid } = await node.opened()
    await node.start('alice', family)
    await member(node, 'in')
    node.say({ do: 'block', ms: 3_000 })
    await node.heard('blocking')
    process.kill(guardPid, 'SIGKILL')
    await eventually('nothing is left', () => marked(node.directory).length === 0)
    expect(node.said.some(({ type }) => type === 'turning')).toBe(false)
    await node.heard('control_lost')
    await node.heard('lost')
  })
})

describe('a guard', () => {
  it('that is killed leaves none of its agents, and the node hears of it', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', family)
    await bench.line('alice', 'in ')
    const stubborn = await bench.startShell('stubborn', `trap '' TERM HUP; sleep 1000 & wait; wait`)
    const clean = await bench.startShell('clean', 'exec env -i sleep 1000')
    process.kill(bench.guardPid, 'SIGKILL')
    await eventually('the node hears of it', () => bench.lost[0])
    expect(bench.lost).toEqual(['it was killed or crashed'])
    expect([pid, stubborn, clean].map(isAlive)).toEqual([false, false, false])
    expect(marked(bench.directory)).toEqual([])
    await bench.guardIsDead()
    await expect(bench.processes.start(shell('alice', 'sleep 1'), 2)).rejects.toMatchObject({
      code: 'unavailable',
    })
    await expect(bench.processes.stop('alice', 1, 0)).resolves.toBeUndefined()
  })

  it('that was lost is followed by another one, with another life lock', async () => {
    await using bench = await new Bench().open()
    await bench.startShell('alice', 'sleep 1000')
    const first = bench.lifeLock
    process.kill(bench.guardPid, 'SIGKILL')
    await eventually('the node hears of it', () => bench.lost[0])
    await bench.open()
    expect(bench.lifeLock).not.toBe(first)
    expect(new SqliteLifeLocks().prove(first)).toBe('dead')
    expect(new SqliteLifeLocks().prove(bench.lifeLock)).toBe('alive')
    const pid = await bench.startShell('alice', 'sleep 1000')
    expect(isAlive(pid)).toBe(true)
  })

  it('that was frozen past the deadline kills first, whatever waits for it', async () => {
    await using bench = new Bench()
    const { renewalAddress } = await bench.processes.open()
    bench.guardPid = (JSON.parse(renewalAddress) as { pid: number }).pid
    // Nobody else may end it: that a node does not wait for a frozen guard is another test.
    const renewals = new BareRenewals(renewalAddress)
    renewals.renew(monotonicMs() + 60_000)
    await bench.renewed()
    const pid = await bench.startShell('alice', family)
    renewals.renew(monotonicMs() + 500)
    await roundTrip(bench)
    process.kill(bench.guardPid, 'SIGSTOP')
    const refused = expect(
      bench.processes.start(shell('bob', 'echo ran; sleep 1000'), 1),
    ).rejects.toMatchObject({ code: 'unavailable' })
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(isAlive(pid)).toBe(true)
    renewals.renew(monotonicMs() + 60_000)
    process.kill(bench.guardPid, 'SIGCONT')
    await refused
    await eventually('the node hears of it', () => bench.lost[0])
    expect(bench.lost[0]).toContain('deadline passed')
    expect(isAlive(pid)).toBe(false)
    expect(bench.events.some((e) => e.name === 'bob')).toBe(false)
    expect(marked(bench.directory)).toEqual([])
  })

  it('takes a suspended host for a passed deadline', async () => {
    await using bench = new Bench()
    const { renewalAddress } = await bench.processes.open()
    const renewals = new BareRenewals(renewalAddress)
    renewals.renew(monotonicMs() + 60_000)
    await bench.renewed()
    const pid = await bench.startShell('alice', 'sleep 1000')
    // As if wall time had been two seconds behind when this was sent.
    renewals.renew(monotonicMs() + 60_000, monotonicMs(), Date.now() - 2_000)
    await eventually('the node hears of it', () => bench.lost[0])
    expect(bench.lost[0]).toContain('suspended')
    expect(isAlive(pid)).toBe(false)
  })

  it('that stays frozen past the deadline is killed by the control thread, with its agents', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', family)
    bench.renewals!.renew(monotonicMs() + 500)
    await roundTrip(bench)
    process.kill(bench.guardPid, 'SIGSTOP')
    await eventually('the node hears of it', () => bench.lost[0])
    expect(isAlive(bench.guardPid)).toBe(false)
    expect(isAlive(pid)).toBe(false)
    expect(marked(bench.directory)).toEqual([])
  })

  it('that does not answer the main thread is killed, long before any deadline', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', family)
    process.kill(bench.guardPid, 'SIGSTOP')
    const stopping = bench.processes.stop('alice', 1)
    await expect(bench.processes.state('alice')).rejects.toMatchObject({ code: 'timeout' })
    await eventually('the node hears of it', () => bench.lost[0])
    expect(bench.lost[0]).toContain('did not answer')
    await stopping
    expect(isAlive(pid)).toBe(false)
    expect(marked(bench.directory)).toEqual([])
  })

  it('ends everything at once when the lease is given up', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', 'sleep 1000')
    bench.renewals!.renew(0)
    await eventually('the node hears of it', () => bench.lost[0])
    expect(isAlive(pid)).toBe(false)
    await bench.guardIsDead()
  })

  it('starts nothing before the first renewal', async () => {
    await using bench = new Bench()
    await bench.processes.open()
    await expect(bench.processes.start(shell('alice', 'sleep 1'), 1)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('no renewal'),
    })
    expect(bench.events).toEqual([])
  })

  it('does not take renewals from somebody who does not know the token', async () => {
    await using bench = new Bench()
    const { renewalAddress } = await bench.processes.open()
    const target = JSON.parse(renewalAddress) as Record<string, unknown>
    let isRefused = false
    const stranger = new GuardRenewalSender({
      address: JSON.stringify({ ...target, token: '0'.repeat(64), mark: 'nobody' }),
      onLost: () => {
        isRefused = true
      },
    })
    stranger.renew(monotonicMs() + 1_000)
    await eventually('the stranger is refused', () => isRefused)
    await expect(bench.processes.start(shell('alice', 'sleep 1'), 1)).rejects.toMatchObject({
      code: 'unavailable',
    })
    bench.renewals = new GuardRenewalSender({ address: renewalAddress })
    bench.renewals.renew(monotonicMs() + 60_000)
    await eventually('the right one is taken', () =>
      bench.processes.start(shell('alice', 'sleep 1000'), 1).then(
        () => true,
        () => false,
      ),
    )
  })

  it('ends when the control thread alone is gone without a goodbye, and not after one', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', 'sleep 1000')
    bench.renewals!.close()
    await roundTrip(bench)
    expect(isAlive(pid)).toBe(true)
    await using other = new Bench()
    const { renewalAddress } = await other.processes.open()
    const renewals = new BareRenewals(renewalAddress)
    renewals.renew(monotonicMs() + 600_000)
    await other.renewed()
    const bob = await other.startShell('bob', 'sleep 1000')
    renewals.socket.destroy()
    await eventually('the node hears of it', () => other.lost[0])
    expect(other.lost).toEqual(['the connection of the control thread ended'])
    expect(isAlive(bob)).toBe(false)
  })

  it('ends when the pipe to the main thread alone is closed', async () => {
    await using node = new NodeProcess('somebody_else')
    const { renewalAddress, lifeLock } = await node.opened()
    const renewals = new BareRenewals(renewalAddress)
    renewals.renew(monotonicMs() + 600_000)
    const pid = await node.start('alice', 'sleep 1000')
    node.child.kill('SIGKILL')
    await eventually('the life lock is free', () => new SqliteLifeLocks().prove(lifeLock) === 'dead')
    expect(isAlive(pid)).toBe(false)
  })

  it('that is asked to end kills what runs, and its life lock is free', async () => {
    const bench = await new Bench().open()
    const pid = await bench.startShell('alice', family)
    await bench.processes[Symbol.asyncDispose]()
    expect(isAlive(pid)).toBe(false)
    expect(new SqliteLifeLocks().prove(bench.lifeLock)).toBe('dead')
    expect(marked(bench.directory)).toEqual([])
    expect(bench.lost).toEqual([])
    await expect(bench.processes.open()).rejects.toMatchObject({ code: 'closed' })
    await bench[Symbol.asyncDispose]()
  })

  it('does not heed signals that a terminal or a service manager sends', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', 'sleep 1000')
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(bench.guardPid, signal)
    await roundTrip(bench)
    expect(isAlive(pid)).toBe(true)
    const stat = readFileSync(`/proc/${bench.guardPid}/stat`, 'utf8')
    const session = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]
    expect(Number(session)).toBe(bench.guardPid)
  })

  it('that starts ends what an earlier one of its directory left behind', async () => {
    await using node = new NodeProcess()
    const { guardPid } = await node.opened()
    const pid = await node.start('alice', family)
    await member(node, 'in')
    // Both at the same moment: nobody is left to find what has left its group.
    process.kill(node.child.pid!, 'SIGSTOP')
    process.kill(guardPid, 'SIGSTOP')
    process.kill(guardPid, 'SIGKILL')
    node.child.kill('SIGKILL')
    await eventually('both are gone', () => !isAlive(guardPid) && !isAlive(node.child.pid!))
    // The kernel has seen to the first process of the agent.
    await eventually('alice is gone', () => !isAlive(pid))
    expect(marked(node.directory).length).toBeGreaterThan(0)
    await using next = new GuardedProcesses({
      nodeId: 'node-1',
      dataDir: node.directory,
      entry: guardEntry(),
    })
    await next.open()
    await eventually('nothing of the first one is left', () => marked(node.directory).length === 0)
  })
})

/** The pid that the agent printed after a word. */
async function member(node: NodeProcess, word: string): Promise<number> {
  const found = await eventually('the family is there', () =>
    node.said.find(({ type, text }) => type === 'output' && String(text).startsWith(`${word} `)),
  )
  return Number(String(found.text).split(' ')[1])
}

async function roundTrip(bench: Bench): Promise<void> {
  await bench.processes.state('nobody')
}
