import { describe, expect, it } from 'vitest'
import { type SimApp, type SimClient, simulate } from '../../src/sim/index.js'

const shop: SimClient = async ({ publish, sleep, random }) => {
  for (let i = 0; i < 300; i++) {
    await publish('orders', { key: `customer-${random.below(10)}`, payload: { amount: 1 + random.below(9) } })
    await sleep(random.between(20, 200))
  }
}
const faults = ['crash', 'pause', 'pause_past_lease', 'partition']

/** The shop, and what it was told that it sold. */
function payer(paid: { total: number }): SimClient {
  return (world) =>
    shop({
      ...world,
      publish: async (stream, event) => {
        await world.publish(stream, event)
        paid.total += (event.payload as { amount: number }).amount
      },
    })
}

function booked(database: ReadonlyMap<string, { readonly total: number }>): number {
  return [...database.values()].reduce((sum, row) => sum + row.total, 0)
}

/** An accounting service with a database that outlives its processes. */
function accounts(applyOnce: boolean) {
  const database = new Map<string, { total: number; done: Set<string> }>()
  const app: SimApp = (node, world) => {
    node.events.consume('orders', async (batch) => {
      for (const { key, id, payload } of batch) {
        const row = database.get(key) ?? { total: 0, done: new Set() }
        if (applyOnce && row.done.has(id)) continue
        row.total += (payload as { amount: number }).amount
        row.done.add(id)
        database.set(key, row)
        await world.sleep(world.random.between(1, 20))
      }
    })
  }
  return { database, app }
}

describe('a program of one’s own in a simulated cluster', () => {
  it('runs its handlers on the owners of the shards through every fault', async () => {
    const { database, app } = accounts(true)
    const paid = { total: 0 }
    const report = await simulate({
      seed: 3,
      nodes: 3,
      minutes: 1,
      faults,
      app,
      clients: [payer(paid), payer(paid)],
      check: ({ fail }) => {
        if (booked(database) !== paid.total) fail(`${booked(database)} booked of ${paid.total} paid`)
      },
    })
    expect(report.violations).toEqual([])
    expect(report.acknowledged).toBe(600)
    expect(report.handled).toBe(600)
    expect(report.faults.crash).toBeGreaterThan(0)
  })

  it('brings a handler to light that books twice what it is given twice', async () => {
    const differences = []
    for (const seed of [1, 2, 3, 4]) {
      const { database, app } = accounts(false)
      const paid = { total: 0 }
      const { violations } = await simulate({
        seed,
        nodes: 3,
        minutes: 1,
        faults,
        app,
        clients: [payer(paid), payer(paid)],
      })
      expect(violations).toEqual([])
      differences.push(booked(database) - paid.total)
    }
    expect(Math.max(...differences)).toBeGreaterThan(0)
    expect(Math.min(...differences)).toBeGreaterThanOrEqual(0)
  })

  it('tries a handler that throws again, in order, until it is done', async () => {
    const seen = new Map<string, number[]>()
    const report = await simulate({
      seed: 1,
      nodes: 3,
      minutes: 0.5,
      faults: ['crash'],
      app: (node, { random }) => {
        node.events.consume('steps', (batch) => {
          if (random.chance(0.3)) throw new Error('the database is away')
          for (const { key, payload } of batch) seen.set(key, [...(seen.get(key) ?? []), payload as number])
        })
      },
      clients: [
        async ({ publish }) => {
          for (let i = 0; i < 50; i++) await publish('steps', { key: `k${i % 3}`, payload: i })
        },
      ],
    })
    expect(report.violations).toEqual([])
    for (const steps of seen.values()) {
      const first = steps.filter((step, i) => steps.indexOf(step) === i)
      expect(first).toEqual([...first].sort((a, b) => a - b))
    }
    expect([...seen.values()].flat().length).toBeGreaterThanOrEqual(50)
  })

  it('lets a handler publish, and counts what each group has handled', async () => {
    const report = await simulate({
      seed: 5,
      nodes: 3,
      minutes: 0.5,
      faults: ['crash'],
      app: (node) => {
        node.events.consume('orders', async (batch) => {
          for (const { key, id } of batch)
            await node.events.publish('bills', { key, id, payload: { for: id } })
        })
        node.events.consume('bills', () => {}, { group: 'post' })
      },
      clients: [shop],
    })
    expect(report.violations).toEqual([])
    expect(report.acknowledged).toBe(600)
    expect(report.handled).toBe(600)
  })

  it('says which promise of its own a program broke, and is the same run for the same seed', async () => {
    const run = () =>
      simulate({
        seed: 9,
        nodes: 3,
        minutes: 0.2,
        faults: [],
        app: (node, world) => {
          node.events.consume('orders', ([first]) => {
            if (first?.key === 'customer-7') world.fail('customer 7 is not served')
          })
        },
        clients: [
          async ({ publish }) => {
            await publish('orders', { key: 'customer-7', payload: null })
          },
        ],
      })
    const report = await run()
    expect(report.violations).toMatchObject([
      { promise: 'app', detail: expect.stringMatching(/^n\d: customer 7 is not served$/) },
    ])
    expect(await run()).toEqual(report)
  })

  it('refuses an event that the real node would refuse', async () => {
    const refusals: string[] = []
    await simulate({
      seed: 1,
      nodes: 1,
      minutes: 0.1,
      faults: [],
      clients: [
        async ({ publish }) => {
          await publish('no spaces', { key: 'k', payload: 1 }).catch((error) => refusals.push(error.message))
        },
      ],
    })
    expect(refusals).toEqual([expect.stringContaining('stream: 1 to 128 characters')])
  })
})
