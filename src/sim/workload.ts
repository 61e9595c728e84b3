/** The load of a run that names no clients of its own: four clients, a few keys, small requests. */
import type { NewEvent } from '../core/routing/events.js'
import type { SimCluster } from './cluster.js'

const clients = 4
const keys = 24

export class Workload {
  private readonly cluster: SimCluster
  private running = false
  private sequence = 0

  constructor(cluster: SimCluster) {
    this.cluster = cluster
  }

  start(): void {
    this.running = true
    for (let client = 0; client < clients; client++) this.next()
  }

  stop(): void {
    this.running = false
  }

  private next(): void {
    if (!this.running) return
    const { scheduler, checkers } = this.cluster
    scheduler.after(scheduler.random.between(5, 60), () => {
      if (!this.running) return
      const events = Array.from({ length: 1 + scheduler.random.below(4) }, (): NewEvent => {
        const id = `e${++this.sequence}`
        return { stream: 's', key: `k${scheduler.random.below(keys)}`, id, type: 't', payload: `"${id}"` }
      })
      this.cluster.clients.publish(events, (refusal) => {
        if (refusal !== undefined) checkers.fail('2', `an event was rejected for good: ${refusal}`)
        this.next()
      })
    })
  }
}
