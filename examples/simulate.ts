/**
 * Your own handler in a simulated cluster: an hour of crashes, pauses and partitions in seconds. `npx tsx examples/simulate.ts`.
 * Take the marked line out, and some seed books an order twice.
 */
import { simulate } from 'skein/sim'

for (let seed = 1; seed <= 5; seed++) {
  // What outlives the processes: the database that your handler writes to.
  const balances = new Map<string, { total: number; lastOffset: number }>()
  let paid = 0

  const report = await simulate({
    seed,
    nodes: 3,
    minutes: 10,
    faults: ['crash', 'pause_past_lease', 'partition'],
    app: (node, world) => {
      node.events.consume('orders', async (batch) => {
        for (const { key, offset, payload } of batch) {
          const row = balances.get(key) ?? { total: 0, lastOffset: 0 }
          if (offset <= row.lastOffset) continue // delivered again after a crash: offsets of a key only rise
          balances.set(key, { total: row.total + Number(payload), lastOffset: offset })
          await world.sleep(world.random.between(1, 10))
        }
      })
    },
    clients: [
      async ({ publish, sleep, random }) => {
        for (let i = 0; i < 1_000; i++) {
          await publish('orders', { key: `customer-${random.below(20)}`, payload: 1 })
          paid++
          await sleep(random.between(10, 500))
        }
      },
    ],
    check: ({ fail }) => {
      const total = [...balances.values()].reduce((sum, row) => sum + row.total, 0)
      if (total !== paid) fail(`${total} booked of ${paid} paid`)
    },
  })
  console.log(
    `seed ${seed}:`,
    report.faults,
    report.violations.length === 0 ? 'all is well' : report.violations,
  )
}
