/**
 * Every combination of store and journal that the same program, API and tests are to run on, as one list: `describe.each(engines)`. Each starts servers
 * of its own; where one is not installed, its combination says so and is skipped.
 */
import { isWithoutPostgres, PostgresServer } from './journal/postgres-server.js'
import { freePorts, noEtcd, startEtcd } from './store/etcd-server.js'

export interface RunningEngines {
  /** Undefined: what a node takes when nobody says otherwise, files beside its data directory. */
  readonly store: string | undefined
  readonly journal: string | undefined
  /** Where a node's own engine needs ports beside the peer port; 0 for any. */
  readonly peerPort: number
  end(): Promise<void>
}

export interface Engines {
  readonly name: string
  readonly isMissing: boolean
  start(): Promise<RunningEngines>
}

/** What etcd+managed: adds to the peer port. */
const managedOffsets = [0, 1_000, 2_000, 3_000]

const hasNoServers = isWithoutPostgres('the API on etcd and PostgreSQL') || noEtcd !== undefined

export const engines: readonly Engines[] = [
  {
    name: 'SQLite',
    isMissing: false,
    start: async () => ({ store: undefined, journal: undefined, peerPort: 0, end: async () => undefined }),
  },
  {
    name: 'etcd and PostgreSQL',
    isMissing: hasNoServers,
    start: async () => {
      const [etcd, postgres] = await Promise.all([startEtcd(), PostgresServer.start()])
      return {
        store: etcd.url('engines'),
        journal: postgres.url(),
        peerPort: 0,
        end: async () => {
          await Promise.all([etcd.stop(), postgres.remove()])
        },
      }
    },
  },
  {
    name: 'managed etcd and PostgreSQL',
    isMissing: hasNoServers,
    start: async () => {
      const [peerPort, postgres] = await Promise.all([managedPort(), PostgresServer.start()])
      return {
        store: 'etcd+managed:?members=1',
        journal: postgres.url(),
        peerPort,
        end: () => postgres.remove(),
      }
    },
  },
]

/** A peer port with those free that etcd takes beside it. */
export async function managedPort(): Promise<number> {
  for (;;) {
    const port = 11_000 + Math.floor(Math.random() * 15_000)
    try {
      const found = await Promise.all(managedOffsets.map((offset) => freePorts(1, port + offset)))
      if (found.every(([each], i) => each === port + (managedOffsets[i] as number))) return port
    } catch {
      // Taken: the next one, then.
    }
  }
}
