// Sixty nodes: everybody sees everybody within two seconds of the last start, five runs out of five
import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sleep, Verdict } from './lib/cluster.js'

const runs = Number(process.argv[2] ?? 5)
const total = Number(process.argv[3] ?? 60)
const processes = Number(process.argv[4] ?? 2)
const perProcess = Math.ceil(total / processes)
const verdict = new Verdict()

for (let run = 1; run <= runs; run++) {
  const dir = mkdtempSync(join(tmpdir(), 'skein-sixty-'))
  const hosts = Array.from({ length: processes }, (_, p) =>
    fork(
      join(import.meta.dirname, 'lib/many-nodes.mjs'),
      [dir, String(p), String(Math.min(perProcess, total - p * perProcess)), String(total)],
      { stdio: 'inherit', execArgv: [] },
    ),
  )
  const startMs = performance.now()
  let lastStartMs = 0
  const whole: number[] = []
  await new Promise<void>((done, failed) => {
    let seed: string | undefined
    for (const host of hosts) {
      host.on('message', (message: { type: string; address?: string; atMs?: number; seen?: number }) => {
        if (message.type === 'first' && seed === undefined) {
          seed = message.address
          for (const h of hosts) h.send({ type: 'go', seed })
        }
        if (message.type === 'started') lastStartMs = Math.max(lastStartMs, message.atMs as number)
        if (message.type === 'whole') {
          whole.push(message.atMs as number)
          if (whole.length === processes) done()
        }
        if (message.type === 'not_whole')
          failed(new Error(`a node sees only ${message.seen} of ${total} after 30 s`))
      })
      host.once('exit', (code) => failed(new Error(`a process ended with ${code}`)))
    }
    hosts[0]?.send({ type: 'first' })
  }).catch((error: Error) => {
    verdict.check(`run ${run}`, false, error.message)
  })
  const afterMs = Math.max(...whole) - lastStartMs
  if (whole.length === processes)
    verdict.check(
      `run ${run}: ${total} nodes in ${processes} processes see all ${total}`,
      afterMs <= 2_000,
      `${Math.max(0, afterMs).toFixed(0)} ms after the last start (all started in ${((lastStartMs - performance.timeOrigin - startMs) / 1_000).toFixed(1)} s)`,
    )
  for (const host of hosts) host.kill('SIGKILL')
  await sleep(300)
  rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}
verdict.end()
