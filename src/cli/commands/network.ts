/** What lies between the nodes: connections, who sees whom, clocks, and which node a key leads to. */
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { fields, paint, table } from '../output.js'
import { clientOf } from '../remote.js'
import { shows } from '../view.js'

type Row = Readonly<Record<string, unknown>>

interface Reachability {
  readonly reachability: readonly {
    readonly observer: string
    readonly error?: string
    readonly age_ms: number
    readonly sees: readonly {
      readonly node_id: string
      readonly status: string
      readonly rtt_ms: number
      readonly missed_heartbeats: number
    }[]
  }[]
}

interface Clock {
  readonly now: string
  readonly time: string
  readonly skew_ms_max: number
  readonly refused_count: number
  readonly nodes: readonly { readonly node_id: string; readonly skew_ms: number }[]
}

const ms = (value: unknown): string => `${Number(value ?? 0).toFixed(1)} ms`

export function addNetwork(program: SkeinCommand): void {
  shows<{ peers: readonly Row[] }>(
    program
      .command('peers')
      .description('connections of the node at --addr to the others')
      .example('skein peers', 'their health, round trips and bytes')
      .example('skein peers --watch --addr 10.0.0.2:8151', 'those of another node, as they change'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/peers')) as { peers: Row[] },
      lines: ({ peers }) =>
        table(
          ['PEER', 'STATUS', 'ADDRESS', 'RTT', 'MISSED', 'SENT', 'RECEIVED', 'TRIES'],
          peers.map((p) => [
            p.server_id,
            healthOf(String(p.status)),
            p.address,
            ms(p.rtt_ms),
            p.missed_heartbeats,
            p.bytes_sent,
            p.bytes_received,
            p.attempt_count,
          ]),
        ),
    },
  )
  shows<Reachability>(
    program
      .command('reachability')
      .description('who sees whom, over all nodes: one row per pair that is not well, or --all')
      .option('--all', 'also those that are well')
      .example('skein reachability', 'what does not see what')
      .example('skein reachability --all', 'the whole matrix'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/reachability')) as Reachability,
      lines: (value, o) => reachabilityLines(value, (o as { all?: boolean }).all === true),
    },
  )
  shows<Clock>(
    program
      .command('clock')
      .description('the hybrid clock of a node, and how far the clocks of the others are off')
      .example('skein clock', 'the skew of each node'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/clock')) as Clock,
      lines: (c) => [
        `${c.time}, hybrid ${c.now}; at most ${c.skew_ms_max} ms are taken, ${c.refused_count} refused`,
        ...table(
          ['NODE', 'SKEW'],
          c.nodes.map((n) => [n.node_id, ms(n.skew_ms)]),
        ),
      ],
    },
  )
  shows<Row>(
    program
      .command('route <key>')
      .description('which shard a key is in, and who owns it')
      .example('skein route alice', 'its shard, epoch, owner and the address of that'),
    {
      ask: async (o, key) =>
        (await call(
          clientOf(o),
          'GET',
          `/api/cluster/route?${new URLSearchParams({ key: key ?? '' })}`,
        )) as Row,
      lines: fields,
    },
  )
}

function healthOf(status: string): string {
  return paint(status === 'healthy' ? 'green' : status === 'down' ? 'red' : 'yellow', status)
}

function reachabilityLines({ reachability }: Reachability, isAll: boolean): readonly string[] {
  const pairs = reachability.flatMap(({ observer, error, age_ms, sees }) =>
    error === undefined
      ? sees
          .filter((s) => isAll || s.status !== 'alive' || s.missed_heartbeats > 0)
          .map((s) => [observer, s.node_id, s.status, ms(s.rtt_ms), s.missed_heartbeats, ''])
      : [
          [
            observer,
            '',
            paint('red', 'did not answer'),
            '',
            '',
            `${error}; seen ${Math.round(age_ms)} ms ago`,
          ],
        ],
  )
  if (pairs.length === 0) return [`all ${reachability.length} nodes see each other`]
  return table(['OBSERVER', 'SEES', 'AS', 'RTT', 'MISSED', 'DETAIL'], pairs)
}
