// What an idle node of three costs: share of a core, and resident memory
import { readFileSync } from 'node:fs'
import { ProcessCluster, sleep } from '../tools/prove/lib/cluster.js'

const settleMs = 10_000
const measureMs = 20_000
/** Clock ticks per second of /proc, on every Linux that Node runs on. */
const ticksPerSecond = 100

function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return Number(fields[11]) + Number(fields[12])
}

function residentMib(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024
}

const cluster = new ProcessCluster()
await cluster.start(3)
await sleep(settleMs)
const before = cluster.nodes.map((n) => cpuTicks(n.pid))
await sleep(measureMs)
const rows = cluster.nodes.map((n, i) => ({
  node: n.id,
  cpu_pct: ((cpuTicks(n.pid) - (before[i] as number)) / ticksPerSecond / (measureMs / 1_000)) * 100,
  rss_mib: residentMib(n.pid),
}))
console.log('node    share of a core (aim: under 1 %)   resident (aim: under 120 MB)')
for (const r of rows)
  console.log(`${r.node}  ${r.cpu_pct.toFixed(2)} %${' '.repeat(28)}${r.rss_mib.toFixed(0)} MiB`)
console.log(JSON.stringify({ bench: 'idle', rows }))
process.exit(0)
