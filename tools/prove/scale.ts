// Membership in virtual time at 10, 100 and 1,000 nodes: detection, dissemination, and bytes per node that do not grow
import { measureMembership } from '../../src/sim/membership-scale.js'
import { Verdict } from './lib/cluster.js'

const verdict = new Verdict()
const sizes = (process.argv[2] ?? '10,100,1000').split(',').map(Number)
const rows = sizes.map((nodes) => measureMembership({ nodes, seed: 1 }))
console.log(
  'nodes  crash seen by first / all (ms)  cut-off suspected / failed by all (ms)  join known to all (ms)  bytes per second per node  datagrams/s per node',
)
for (const r of rows) {
  console.log(
    `${String(r.nodes).padEnd(6)} ${`${r.crashFirstMs.toFixed(0)} / ${r.crashAllMs.toFixed(0)}`.padEnd(31)} ${`${r.silentSuspectedMs.toFixed(0)} / ${r.silentFailedMs.toFixed(0)}`.padEnd(39)} ${r.joinAllMs.toFixed(0).padEnd(23)} ${r.bytesPerSecond.toFixed(0).padEnd(26)} ${r.datagramsPerSecond.toFixed(1)}`,
  )
}
// At ten nodes the round robin often meets one of the three that are probed anyway: hence the first step up.
for (const [i, r] of rows.entries()) {
  const smaller = rows[i - 1]
  verdict.check(
    `${r.nodes} nodes: a crash is seen by all within a second`,
    r.crashAllMs <= 1_000,
    `${r.crashAllMs.toFixed(0)} ms`,
  )
  verdict.check(
    `${r.nodes} nodes: one that is cut off is failed by all in a few seconds`,
    r.silentFailedMs <= 8_000,
    `${r.silentFailedMs.toFixed(0)} ms`,
  )
  if (smaller !== undefined) {
    const ratio = r.bytesPerSecond / smaller.bytesPerSecond
    verdict.check(
      `${r.nodes} nodes: bytes per node do not grow`,
      ratio <= 1.25,
      `${ratio.toFixed(2)} times those at ${smaller.nodes}`,
    )
  }
}
verdict.end()
