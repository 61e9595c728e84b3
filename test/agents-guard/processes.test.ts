/** What can be done with an agent's process while its node is well. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import { SqliteLifeLocks } from '../../src/engines/sqlite/life-lock.js'
import { makeAgentProcesses, makeGuardRenewals } from '../../src/runtime/compose.js'
import {
  Bench,
  buildFromSources,
  eventually,
  isAlive,
  makeDirectory,
  marked,
  removeFiles,
  shell,
} from './kit.js'

beforeAll(buildFromSources)
afterAll(removeFiles)

/** State letter of proc(5). */
const letterOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '')[0]

/** Would a program started now get it? O_CLOEXEC of proc(5)'s fdinfo. */
function isInherited(fd: string): boolean {
  try {
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
    return flags !== undefined && (Number.parseInt(flags, 8) & 0o2000000) === 0
  } catch {
    return false
  }
}

describe('an agent', () => {
  it('is started, told of, and stopped', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', 'echo hello; exec sleep 1000')
    await bench.line('alice', 'hello')
    await eventually('its memory is known', async () => (await bench.processes.state('alice'))?.memoryBytes)
    expect(await bench.processes.state('alice')).toMatchObject({
      name: 'alice',
      epoch: 1,
      pid,
      isRunning: true,
      isPaused: false,
      processes: 1,
      cpuMs: expect.any(Number),
      outputSeq: 1,
    })
    await bench.processes.stop('alice', 1)
    expect(isAlive(pid)).toBe(false)
    expect(bench.events.at(-1)).toMatchObject({
      type: 'exited',
      epoch: 1,
      code: null,
      signal: 'SIGTERM',
      reason: 'stopped',
    })
    expect(await bench.processes.state('alice')).toMatchObject({ isRunning: false, outputSeq: 1 })
    expect(await bench.processes.state('nobody')).toBeUndefined()
  })

  it('is told of in the order of what happens', async () => {
    await using bench = await new Bench().open()
    await bench.startShell('alice', 'echo one; echo two >&2; exit 7')
    const end = await bench.event('exited', 'alice')
    expect(end).toMatchObject({ code: 7, signal: null, reason: 'ended' })
    const told = bench.events.filter(({ name }) => name === 'alice')
    expect(told.map(({ type }) => type)).toEqual(['started', 'output', 'output', 'exited'])
    expect(told.flatMap((e) => (e.type === 'output' ? [`${e.stream} ${e.text}`] : [])).sort()).toEqual([
      'stderr two',
      'stdout one',
    ])
  })

  it('that does not heed SIGTERM is killed after its grace, and the rest of its group too', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
    await bench.line('alice', 'ready')
    await bench.processes.stop('alice', 1, 200)
    expect(isAlive(pid)).toBe(false)
    expect(bench.events.at(-1)).toMatchObject({ signal: 'SIGKILL', reason: 'killed' })
    expect(marked(bench.directory)).toEqual([])
  })

  it('gives its children the rest of the grace, and a second stop may shorten it', async () => {
    await using bench = await new Bench().open()
    const child = `(trap 'echo cleaning; sleep 0.3; echo clean; exit' TERM; echo child; while :; do sleep 0.05; done)`
    await bench.startShell('alice', `${child} & trap 'exit 0' TERM; wait`)
    await bench.line('alice', 'child')
    await bench.processes.stop('alice', 1, 20_000)
    expect(await bench.line('alice', 'clean')).toBeDefined()
    const lines = await bench.processes.output('alice', { limit: 10 })
    expect(lines.flatMap(({ stream, text }) => (stream === 'stdout' ? [text] : []))).toEqual([
      'child',
      'cleaning',
      'clean',
    ])
    await bench.startShell('bob', `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
    await bench.line('bob', 'ready')
    const patient = bench.processes.stop('bob', 1, 600_000)
    await bench.processes.stop('bob', 1, 0)
    await patient
  })

  it('takes all it started with it when it ends by itself', async () => {
    await using bench = await new Bench().open()
    await bench.startShell('alice', 'sleep 1000 & setsid sleep 1001 & sleep 0.2; exit 3')
    expect(await bench.event('exited', 'alice')).toMatchObject({ code: 3, reason: 'ended' })
    expect(marked(bench.directory)).toEqual([])
  })

  it('is paused and resumed with its group, and can be stopped while it is paused', async () => {
    await using bench = await new Bench().open()
    const pid = await bench.startShell('alice', 'sleep 1000 & echo child $!; wait')
    const child = Number((await bench.line('alice', 'child ')).split(' ')[1])
    await bench.processes.pause('alice')
    await eventually('both stand still', () => letterOf(pid) === 'T' && letterOf(child) === 'T')
    expect(await bench.processes.state('alice')).toMatchObject({ isPaused: true })
    await bench.processes.resume('alice')
    await eventually('both go on', () => letterOf(pid) !== 'T' && letterOf(child) !== 'T')
    expect(await bench.processes.state('alice')).toMatchObject({ isPaused: false })
    await bench.processes.pause('alice')
    await bench.processes.stop('alice', 1)
    expect(bench.events.at(-1)).toMatchObject({ type: 'exited', reason: 'stopped' })
  })

  it('gets signals and input', async () => {
    await using bench = await new Bench().open()
    await bench.startShell(
      'alice',
      `trap 'echo got usr1' USR1; while :; do read line && echo "got $line"; done`,
    )
    await bench.processes.input('alice', 'grüße\n')
    expect(await bench.line('alice', 'grüße')).toBe('got grüße')
    await bench.processes.signal('alice', 'SIGUSR1')
    await bench.processes.input('alice', 'more\n')
    await bench.line('alice', 'got usr1')
    await bench.processes.signal('alice', 'SIGKILL')
    expect(await bench.event('exited', 'alice')).toMatchObject({ signal: 'SIGKILL', reason: 'ended' })
  })

  it('that does not read gets no more than it has room for', async () => {
    await using bench = await new Bench().open()
    await bench.startShell('alice', 'exec sleep 1000')
    const text = 'x'.repeat(512 * 1_024)
    let taken = 0
    await expect(
      (async () => {
        for (; taken < 20; taken++) await bench.processes.input('alice', text)
      })(),
    ).rejects.toMatchObject({ code: 'overloaded', retryable: true })
    expect(taken).toBeGreaterThan(1)
    await bench.startShell('deaf', 'exec 0<&-; echo closed; exec sleep 1000')
    await bench.line('deaf', 'closed')
    await eventually('it is said that nobody reads', () =>
      bench.processes.input('deaf', 'x').then(
        () => false,
        (error: { code?: string }) => error.code === 'closed',
      ),
    )
  })

  it('runs once, and never under a lower epoch than before', async () => {
    await using bench = await new Bench().open()
    const spec = shell('alice', 'exec sleep 1000')
    await bench.processes.start(spec, 5)
    await expect(bench.processes.start(spec, 6)).rejects.toMatchObject({
      code: 'conflict',
      message: 'agent "alice" runs already, under epoch 5',
    })
    await expect(bench.processes.stop('alice', 6, 0)).rejects.toMatchObject({ code: 'conflict' })
    await bench.processes.stop('alice', 4, 0)
    expect(await bench.processes.state('alice')).toMatchObject({ isRunning: true, epoch: 5 })
    await bench.processes.stop('alice', 5, 0)
    await expect(bench.processes.start(spec, 4)).rejects.toMatchObject({ code: 'conflict' })
    await bench.processes.start(spec, 5)
    await bench.processes.stop('alice', 5, 0)
    await bench.processes.stop('alice', 5, 0)
    await bench.processes.stop('nobody', 1, 0)
  })

  it('of which there is none can be asked for nothing', async () => {
    await using bench = await new Bench().open()
    const { processes } = bench
    const code = 'not_found'
    await expect(processes.pause('nobody')).rejects.toMatchObject({ code })
    await expect(processes.resume('nobody')).rejects.toMatchObject({ code })
    await expect(processes.signal('nobody', 'SIGHUP')).rejects.toMatchObject({ code })
    await expect(processes.input('nobody', 'x')).rejects.toMatchObject({ code })
    await expect(processes.output('nobody', { limit: 1 })).rejects.toMatchObject({ code })
  })

  it('has the environment it was given, and nothing of the node', async () => {
    process.env.SKEIN_COOKIE = 'a secret of the node'
    process.env.SOME_TOKEN = 'another secret'
    try {
      await using bench = await new Bench().open()
      const env = { GREETING: 'hällo wörld', SKEIN_AGENT: 'forged', HOME: '/nowhere' }
      await bench.startShell('alice', 'tr "\\0" "\\n" </proc/$$/environ; echo "in $(pwd)"', {
        env,
        cwd: '/usr',
      })
      await bench.event('exited', 'alice')
      const lines = (await bench.processes.output('alice', { limit: 100 })).map(({ text }) => text)
      const names = lines.flatMap((line) => (line.includes('=') ? [line.split('=')[0]] : [])).sort()
      const given = ['PATH', 'LANG', 'TZ'].filter((name) => process.env[name] !== undefined)
      const ours = ['SKEIN_AGENT', 'SKEIN_AGENT_EPOCH', 'SKEIN_AGENT_GUARD', 'SKEIN_NODE_ID']
      expect(names).toEqual(['GREETING', 'HOME', ...given, ...ours].sort())
      expect(lines).toEqual(
        expect.arrayContaining([
          'GREETING=hällo wörld',
          'HOME=/nowhere',
          'in /usr',
          'SKEIN_AGENT=alice',
          'SKEIN_AGENT_EPOCH=1',
          'SKEIN_NODE_ID=node-1',
        ]),
      )
      const ofTheGuard = readFileSync(`/proc/${bench.guardPid}/environ`, 'utf8')
      expect(ofTheGuard).not.toContain('secret')
    } finally {
      delete process.env.SKEIN_COOKIE
      delete process.env.SOME_TOKEN
    }
  })

  it('has no descriptor of the guard but its own three', async () => {
    await using bench = await new Bench().open()
    await bench.startShell('other', 'exec sleep 1000')
    await bench.startShell('alice', 'ls /proc/self/fd')
    await bench.event('exited', 'alice')
    const lines = (await bench.processes.output('alice', { limit: 100 })).map(({ text }) => text)
    // Beside the directory that ls reads, what whoever started the tests has left open.
    const inherited = readdirSync('/proc/self/fd').filter((fd) => Number(fd) > 2 && isInherited(fd))
    expect(lines.filter((fd) => !inherited.includes(fd))).toEqual(['0', '1', '2', '3'])
  })
})

describe('a command that cannot be started', () => {
  it('is said to have failed, with the reason, and the name is free again', async () => {
    await using bench = await new Bench().open()
    const file = join(bench.directory, 'not-executable')
    writeFileSync(file, 'x')
    const bad = join(bench.directory, 'bad-program')
    writeFileSync(bad, '\x7fELF nonsense', { mode: 0o755 })
    const noInterpreter = join(bench.directory, 'no-interpreter')
    writeFileSync(noInterpreter, '#!/no/such/shell\n', { mode: 0o755 })
    const cases: [Partial<{ command: string; cwd: string; env: Record<string, string> }>, RegExp][] = [
      [{ command: 'no-such-program' }, /^command "no-such-program" is not in the PATH \(.*\/bin/],
      [{ command: 'sh', env: { PATH: '/nowhere' } }, /is not in the PATH \(\/nowhere\)$/],
      [{ command: '/no/such' }, /^command "\/no\/such": \/no\/such does not exist$/],
      [{ command: './not-executable', cwd: bench.directory }, /not-executable is not executable$/],
      [{ command: '/usr' }, /is not a file$/],
      [{ cwd: '/nowhere' }, /^cwd "\/nowhere" is not a directory$/],
      [{ command: noInterpreter }, /failed to execute .*No such file/],
    ]
    for (const [more, detail] of cases) {
      const from = bench.events.length
      await bench.processes.start(shell('alice', 'true', more), 1)
      expect(bench.events.slice(from)).toEqual([
        { type: 'start_failed', name: 'alice', epoch: 1, detail: expect.stringMatching(detail) },
      ])
    }
    expect(await bench.processes.state('alice')).toMatchObject({ isRunning: false })
    await bench.startShell('alice', 'exec sleep 1000')
  })

  it('is not confused with one that exits with the same code', async () => {
    await using bench = await new Bench().open()
    for (const code of [126, 127]) {
      const from = bench.events.length
      await bench.startShell('alice', `echo mine >&2; exit ${code}`)
      expect(await bench.event('exited', 'alice', from)).toMatchObject({ code, reason: 'ended' })
    }
    expect((await bench.processes.output('alice', { limit: 10 })).map(({ text }) => text)).toEqual([
      'mine',
      'mine',
    ])
  })
})

describe('what is not allowed', () => {
  it('is refused with the field, what was given and what is allowed', async () => {
    await using bench = await new Bench().open()
    const { processes } = bench
    const refused = (field: string) => ({
      code: 'invalid_argument',
      details: { field },
      message: expect.stringMatching(/expected$/),
    })
    const start = (more: object, epoch = 1) =>
      processes.start({ ...shell('alice', 'true'), ...more } as never, epoch)
    await expect(start({ name: '' })).rejects.toMatchObject(refused('name'))
    await expect(start({ name: 'x'.repeat(257) })).rejects.toMatchObject(refused('name'))
    await expect(start({ command: '' })).rejects.toMatchObject(refused('command'))
    await expect(start({ args: ['a\0b'] })).rejects.toMatchObject(refused('args'))
    await expect(start({ args: 'x' })).rejects.toMatchObject(refused('args'))
    await expect(start({ env: { 'A=B': 'x' } })).rejects.toMatchObject(refused('env'))
    await expect(start({ env: { A: 1 } })).rejects.toMatchObject(refused('env.A'))
    await expect(start({ cwd: '' })).rejects.toMatchObject(refused('cwd'))
    await expect(start({ stopGraceMs: -1 })).rejects.toMatchObject(refused('stopGraceMs'))
    await expect(start({ args: ['x'.repeat(200_000)] })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('at most 131072 bytes together'),
    })
    await expect(start({}, -1)).rejects.toMatchObject(refused('epoch'))
    await expect(start({}, 1.5)).rejects.toMatchObject(refused('epoch'))
    await expect(processes.stop('alice', 1, 600_001)).rejects.toMatchObject(refused('graceMs'))
    await expect(processes.signal('alice', 'SIGNOTHING')).rejects.toMatchObject(refused('signal'))
    await expect(processes.signal('alice', 'toString')).rejects.toMatchObject(refused('signal'))
    await expect(processes.signal('alice', 'SIGSTOP')).rejects.toMatchObject({
      message: expect.stringContaining('there is pause'),
    })
    await expect(processes.output('alice', { limit: 0 })).rejects.toMatchObject(refused('limit'))
    await expect(processes.input('alice', 'x'.repeat(1_048_577))).rejects.toMatchObject(refused('text'))
    expect(() => bench.renewals!.renew(Number.NaN)).toThrow(/deadlineMs NaN/)
    expect(() => makeGuardRenewals({ address: 'nonsense' })).toThrow(/renewal address/)
    expect(() =>
      makeAgentProcesses({ nodeId: 'n', dataDir: 'd', limits: { filesMax: 0, agentsMax: 0 } }),
    ).toThrow(/agentsMax 0: a whole number from 1 to 10000 expected; filesMax 0/)
    expect(bench.events.filter(({ name }) => name === 'alice')).toEqual([])
  })

  it('is more agents than the limit', async () => {
    await using bench = await new Bench({ agentsMax: 2 }).open()
    await bench.startShell('one', 'exec sleep 1000')
    await bench.startShell('two', 'exec sleep 1000')
    const three = shell('three', 'exec sleep 1000')
    await expect(bench.processes.start(three, 1)).rejects.toMatchObject({
      code: 'overloaded',
      retryable: true,
    })
    await bench.processes.stop('one', 1, 0)
    await bench.processes.start(three, 1)
  })
})

describe('a hook', () => {
  const hook = { epoch: 3, input: '', timeoutMs: 20_000, outputBytesMax: 100_000 }

  it('gets its input and gives its output', async () => {
    await using bench = await new Bench().open()
    const { processes } = bench
    const state = '{"n": "ü"}'.repeat(5_000)
    expect(await processes.run({ ...shell('alice', 'cat'), ...hook, input: state })).toEqual({
      code: 0,
      stdout: state,
      stderr: '',
    })
    expect(
      await processes.run({
        ...shell('alice', 'echo $SKEIN_AGENT $SKEIN_AGENT_EPOCH; echo no >&2; exit 4'),
        ...hook,
      }),
    ).toEqual({ code: 4, stdout: 'alice 3\n', stderr: 'no\n' })
    expect(await processes.run({ ...shell('alice', 'kill -SEGV $$'), ...hook })).toMatchObject({ code: 139 })
    const unread = await processes.run({ ...shell('alice', 'exit 0'), ...hook, input: 'x'.repeat(1_000_000) })
    expect(unread.code).toBe(0)
  })

  it('that takes too long or prints too much is killed, with all it started', async () => {
    await using bench = await new Bench().open()
    const { processes } = bench
    const family = 'sleep 1000 & setsid sleep 1001 &'
    await expect(
      processes.run({ ...shell('alice', `${family} wait`), ...hook, timeoutMs: 300 }),
    ).rejects.toMatchObject({ code: 'timeout', details: { timeoutMs: 300 } })
    await expect(processes.run({ ...shell('alice', `${family} yes`), ...hook })).rejects.toMatchObject({
      code: 'payload_too_large',
      details: { outputBytesMax: 100_000 },
    })
    expect(marked(bench.directory)).toEqual([])
    await expect(processes.run({ ...shell('alice', ''), ...hook, command: 'no-such' })).rejects.toMatchObject(
      {
        code: 'invalid_argument',
        message: expect.stringContaining('is not in the PATH'),
      },
    )
    await expect(processes.run({ ...shell('alice', ''), ...hook, timeoutMs: 0 })).rejects.toMatchObject({
      code: 'invalid_argument',
    })
  })
})

describe('many agents', () => {
  it('start and stop at once', async () => {
    await using bench = await new Bench().open()
    const names = Array.from({ length: 200 }, (_, i) => `agent-${i}`)
    await Promise.all(names.map((name) => bench.processes.start(shell(name, 'echo hi; exec sleep 1000'), 1)))
    expect(bench.events.filter(({ type }) => type === 'started')).toHaveLength(200)
    // One that is just becoming another program has no environment to be found by.
    await eventually('all are there', () => marked(bench.directory).length === 200)
    await Promise.all(names.map((name) => bench.processes.stop(name, 1, 20_000)))
    expect(marked(bench.directory)).toEqual([])
    expect(bench.events.filter((e) => e.type === 'exited' && e.reason === 'stopped')).toHaveLength(200)
    // Those that ended are told of for a while, as many as there is room for.
    expect(await bench.processes.state('agent-0').then((state) => state?.isRunning ?? false)).toBe(false)
  })

  it('are all killed at once', async () => {
    await using bench = await new Bench().open()
    const names = Array.from({ length: 100 }, (_, i) => `agent-${i}`)
    const script = `trap '' TERM; setsid sleep 1001 & while :; do sleep 0.5; done`
    await Promise.all(names.map((name) => bench.processes.start(shell(name, script), 1)))
    bench.renewals!.renew(0)
    await eventually('the node hears of it', () => bench.lost[0])
    expect(marked(bench.directory)).toEqual([])
    await bench.guardIsDead()
  })
})

describe('the guard of this build', () => {
  it('is found, lives in a data directory with a long name, and keeps its files to itself', async () => {
    const directory = join(makeDirectory(), 'long-'.repeat(30))
    mkdirSync(directory, { recursive: true })
    await using processes = makeAgentProcesses({ nodeId: 'node-1', dataDir: directory })
    const [opened, again] = await Promise.all([processes.open(), processes.open()])
    expect(again).toEqual(opened)
    expect(opened.lifeLock).toContain(`${directory}/guard/`)
    expect(new SqliteLifeLocks().prove(opened.lifeLock)).toBe('alive')
    const renewals = makeGuardRenewals({ address: opened.renewalAddress })
    renewals.renew(monotonicMs() + 60_000)
    await eventually('it starts', () =>
      processes.start(shell('alice', 'exec sleep 1000'), 1).then(
        () => true,
        () => false,
      ),
    )
    await eventually('it is there', () => marked(directory).length === 1)
    renewals.close()
  })

  it('says what keeps it from starting', async () => {
    const directory = makeDirectory()
    writeFileSync(join(directory, 'guard'), 'in the way')
    await using inTheWay = makeAgentProcesses({ nodeId: 'node-1', dataDir: directory })
    await expect(inTheWay.open()).rejects.toMatchObject({ code: 'data_dir_unusable' })
    await using missing = makeAgentProcesses({
      nodeId: 'node-1',
      dataDir: makeDirectory(),
      entry: new URL('file:///no/such/guard.js'),
    })
    await expect(missing.open()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('Cannot find module'),
    })
  })
})
