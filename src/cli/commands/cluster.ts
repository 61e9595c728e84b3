/** The cluster as one node sees it: status, leader, shards, history. */
import type { ClusterStatusJson, FeedEventJson } from '../../http/contract.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { exitCodes } from '../exit.js'
import { fields, paint, print, printJson, table } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'

type Row = Record<string, unknown>

export function addCluster(program: SkeinCommand): void {
  shows<ClusterStatusJson>(
    program
      .command('status')
      .description('the cluster as one node sees it; exit code 7 when degraded')
      .details(
        'Degraded: a member is suspected or down, this node is stalled or not active, or store or journal is unhealthy. `skein nodes why` and `skein doctor` say more.',
      )
      .example('skein status', 'one look')
      .example('skein status --watch', 'drawn again every two seconds')
      .example('skein status --json | jq .is_quorum_available', 'for scripts')
      .exits(exitCodes.degraded),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/status')) as ClusterStatusJson,
      lines: statusLines,
      notes: (s) => (s.is_degraded ? ['skein doctor says what is bad, each with the fix'] : []),
      exitCode: (s) => (s.is_degraded ? exitCodes.degraded : exitCodes.ok),
    },
  )
  addLeader(program)
  addShards(program)
  addHistory(program)
}

function addLeader(program: SkeinCommand): void {
  const leader = program.command('leader').description('leader: show, promote, step-down').lists('show')
  shows<Row>(
    leader
      .command('show')
      .description('who leads; exit code 4 when nobody does')
      .example('skein leader show', 'its node, address and term')
      .example('skein leader show --watch --json', 'one line of JSON every two seconds'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/leader')) as Row,
      lines: fields,
    },
  )
  remote(
    leader
      .command('promote')
      .description('make the node at --addr the leader')
      .example('skein leader promote --addr 10.0.0.2:8151', 'that node leads, at the next term'),
  ).action(async (o: RemoteOptions) => {
    const answer = (await call(clientOf(o), 'POST', '/api/cluster/leader')) as Row
    if (o.json === true) printJson(answer)
    else print(`${String(answer.leader_id)} leads, term ${String(answer.term)}`)
  })
  remote(
    leader
      .command('step-down')
      .description('make the node at --addr give the leadership up; exit code 5 when it does not lead')
      .example('skein leader step-down --addr 10.0.0.1:8151', 'another node takes over'),
  ).action(async (o: RemoteOptions) => {
    const answer = (await call(clientOf(o), 'DELETE', '/api/cluster/leader')) as Row
    if (o.json === true) printJson(answer)
    else print('it leads no more')
  })
}

function addShards(program: SkeinCommand): void {
  shows<{ shards: readonly Row[] }>(
    program
      .command('shards')
      .description('who owns which shards')
      .example('skein shards', 'how many each node has, and which')
      .example('skein shards --watch', 'as they move'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/shards')) as { shards: Row[] },
      lines: shardLines,
    },
  )
}

function addHistory(program: SkeinCommand): void {
  shows<{ events: readonly FeedEventJson[] }, RemoteOptions & { limit: string; topic?: string }>(
    program
      .command('history')
      .description('what happened, as one node saw it')
      .option('--limit <n>', 'the newest so many', '50')
      .option('--topic <topic>', 'agents: what they did; cluster: all else')
      .example('skein history', 'the newest 50')
      .example('skein history --topic cluster --limit 200', 'without what agents did')
      .example('skein history --watch', 'as it happens'),
    {
      ask: async (o) => {
        const query = new URLSearchParams({ limit: String(whole('--limit', o.limit, 1, 1_000)) })
        if (o.topic !== undefined) query.set('topic', o.topic)
        return (await call(clientOf(o), 'GET', `/api/cluster/history?${query}`)) as {
          events: FeedEventJson[]
        }
      },
      lines: ({ events }, o) => {
        // Watched, the newest must be in sight: first.
        const ordered = (o as { watch?: boolean }).watch === true ? [...events].reverse() : events
        return ordered.map((e) => `${e.at}  ${e.event.padEnd(20)} ${JSON.stringify(e.fields)}`)
      },
    },
  )
}

function statusLines(s: ClusterStatusJson): readonly string[] {
  const lines = [
    `cluster ${s.cluster_name}: leader ${s.leader_id ?? s.leader?.node_id ?? 'none'}, term ${s.term}, quorum ${s.is_quorum_available ? 'yes' : paint('red', 'NO')}${s.is_degraded ? paint('yellow', ', DEGRADED') : ''}`,
    `peers: ${s.healthy_peers} healthy, ${s.suspected_peers} suspected, ${s.down_peers} down of ${s.total_peers}`,
  ]
  for (const engine of ['store', 'journal'] as const) {
    const { driver, ok, detail } = s[engine]
    lines.push(`${engine}: ${driver} ${ok ? 'ok' : paint('red', `NOT OK: ${detail}`)}`)
  }
  return lines
}

function shardLines({ shards }: { shards: readonly Row[] }): readonly string[] {
  const byOwner = new Map<string, { shards: number[]; moving: number }>()
  for (const s of shards) {
    const owner = String(s.owner ?? '(none)')
    const entry = byOwner.get(owner) ?? { shards: [], moving: 0 }
    entry.shards.push(Number(s.shard))
    if (s.state === 'moving') entry.moving++
    byOwner.set(owner, entry)
  }
  return table(
    ['OWNER', 'SHARDS', 'MOVING', 'WHICH'],
    [...byOwner].sort().map(([owner, e]) => [owner, e.shards.length, e.moving, ranges(e.shards)]),
  )
}

function ranges(numbers: readonly number[]): string {
  const parts: string[] = []
  for (let i = 0; i < numbers.length; ) {
    let j = i
    while (j + 1 < numbers.length && numbers[j + 1] === (numbers[j] as number) + 1) j++
    parts.push(i === j ? String(numbers[i]) : `${numbers[i]}-${numbers[j]}`)
    i = j + 1
  }
  return parts.length > 12 ? `${parts.slice(0, 12).join(',')},…` : parts.join(',')
}
