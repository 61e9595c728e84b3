// Process agents under their guard: its memory, how long a start and a stop take beside a bare spawn, and how soon a killed node's agents are proved gone
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { makeAgentProcesses, makeGuardRenewals, makeLifeLocks } from '../dist/runtime/compose.js'

const sleeper = { command: 'sleep', args: ['1000'], env: {}, stopGraceMs: 5_000 }
const dir = mkdtempSync(join(tmpdir(), 'skein-bench-'))
const monotonicMs = () => Number(process.hrtime.bigint()) / 1e6
let boots = 0

async function openGuard(dataDir: string) {
  const processes = makeAgentProcesses({ nodeId: 'bench', dataDir })
  const startMs = performance.now()
  const { lifeLock, renewalAddress } = await processes.open()
  const openMs = performance.now() - startMs
  const renewals = makeGuardRenewals({ address: renewalAddress })
  renewals.renew(monotonicMs() + 3_600_000)
  const { pid } = JSON.parse(renewalAddress) as { pid: number }
  // The first renewal takes another way than the first order.
  await sleep(200)
  return { processes, renewals, lifeLock, pid, openMs }
}

function megabytes(pid: number): string {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return `${(Number(kilobytes) / 1_024).toFixed(0)} MiB`
}

function spread(times: number[]): string {
  times.sort((a, b) => a - b)
  const at = (share: number) => (times[Math.floor(share * (times.length - 1))] as number).toFixed(1)
  return `median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(1)} ms`
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work()
  return performance.now() - startMs
}

async function startsAndStops(): Promise<void> {
  const { processes, renewals, pid, openMs } = await openGuard(join(dir, 'calm'))
  console.log(`a guard opens in ${openMs.toFixed(0)} ms and takes ${megabytes(pid)}`)
  const bare: number[] = []
  const starts: number[] = []
  const stops: number[] = []
  for (let i = 0; i < 50; i++) {
    bare.push(
      await timed(async () => {
        const child = spawn('sleep', ['1000'], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] })
        await once(child, 'spawn')
        child.kill('SIGKILL')
      }),
    )
    const name = `agent-${i}`
    starts.push(await timed(() => processes.start({ name, ...sleeper }, 1)))
    stops.push(await timed(() => processes.stop(name, 1)))
  }
  console.log(`one start: ${spread(starts)}; a bare spawn: ${spread(bare)}`)
  console.log(`one stop: ${spread(stops)}`)
  const names = Array.from({ length: 200 }, (_, i) => `many-${i}`)
  const startMs = await timed(() =>
    Promise.all(names.map((name) => processes.start({ name, ...sleeper }, 1))),
  )
  console.log(`200 at once: started in ${startMs.toFixed(0)} ms; the guard takes ${megabytes(pid)}`)
  const stopMs = await timed(() => Promise.all(names.map((name) => processes.stop(name, 1))))
  console.log(`200 at once: stopped in ${stopMs.toFixed(0)} ms`)
  const chatty = {
    name: 'chatty',
    command: 'sh',
    args: ['-c', 'yes | head -c 209715200'],
    env: {},
    stopGraceMs: 0,
  }
  const ended = new Promise<void>((resolve) =>
    processes.onEvent(({ type }) => type === 'exited' && resolve()),
  )
  const floodMs = await timed(async () => {
    await processes.start(chatty, 1)
    await ended
  })
  console.log(`200 MiB of output in ${floodMs.toFixed(0)} ms; the guard takes ${megabytes(pid)}`)
  renewals.close()
  await processes[Symbol.asyncDispose]()
}

/** From the kill of a node to the proof that its agents are gone. */
async function deaths(agents: number): Promise<void> {
  const times: number[] = []
  for (let i = 0; i < 10; i++) {
    const node: ChildProcess = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        fileURLToPath(import.meta.url),
        'node',
        join(dir, `node-${++boots}`),
        String(agents),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    const [lifeLock] = (await once(createInterface({ input: node.stdout! }), 'line')) as [string]
    const locks = makeLifeLocks()
    if (locks.prove(lifeLock) !== 'alive') throw new Error('the guard is not alive')
    times.push(
      await timed(async () => {
        node.kill('SIGKILL')
        while (locks.prove(lifeLock) !== 'dead') await sleep(1)
      }),
    )
  }
  console.log(`kill -9 of a node with ${agents} agents to the free life lock of its guard: ${spread(times)}`)
}

const [role, dataDir = '', agents = '0'] = process.argv.slice(2)
if (role === 'node') {
  const { processes, lifeLock } = await openGuard(dataDir)
  const names = Array.from({ length: Number(agents) }, (_, i) => `agent-${i}`)
  await Promise.all(names.map((name) => processes.start({ name, ...sleeper }, 1)))
  console.log(lifeLock)
} else {
  await startsAndStops()
  await deaths(1)
  await deaths(100)
  rmSync(dir, { recursive: true, force: true })
}
