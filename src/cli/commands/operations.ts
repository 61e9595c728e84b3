/** `skein operations`: long work that was begun through a node, how far it is, and its end. */
import type { OperationJson } from '../../http/contract.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { followOperation } from '../follow.js'
import { fields, paint, print, printJson, table } from '../output.js'
import { clientOf, type RemoteOptions, remote } from '../remote.js'
import { shows } from '../view.js'

const pathOf = (id: string | undefined): string => `/api/cluster/operations/${encodeURIComponent(id ?? '')}`

export function addOperations(program: SkeinCommand): void {
  const operations = program
    .command('operations')
    .alias('ops')
    .description('long work begun through a node: ls, show, follow, cancel')
    .details('The node through which it was begun keeps it: ask that one.')
    .lists('ls')
  shows<{ operations: readonly OperationJson[] }>(
    operations
      .command('ls')
      .description('the newest first, those that ended included')
      .example('skein operations ls', 'what was begun through this node')
      .example('skein operations ls --watch', 'as it goes on'),
    {
      ask: async (o) =>
        (await call(clientOf(o), 'GET', '/api/cluster/operations')) as { operations: OperationJson[] },
      lines: ({ operations: list }) =>
        table(
          ['ID', 'KIND', 'NODE', 'STATE', 'STARTED', 'LEFT', 'DETAIL'],
          list.map((each) => [
            each.id,
            each.kind,
            each.node_id,
            coloured(each.state),
            each.started_at,
            `${each.left.shards} shards, ${each.left.agents} agents`,
            each.detail,
          ]),
        ),
    },
  )
  shows<OperationJson>(
    operations
      .command('show <id>')
      .description('one of them')
      .names('operation')
      .example('skein operations show 1f0c2a9b77de', 'its state, and what is left'),
    { ask: async (o, id) => (await call(clientOf(o), 'GET', pathOf(id))) as OperationJson, lines: fields },
  )
  remote(
    operations
      .command('follow <id>')
      .description('a bar until it ends; Ctrl-C leaves it to itself. Exit code 1 when it failed')
      .names('operation')
      .example('skein operations follow 1f0c2a9b77de', 'a drain that was begun with --detach'),
  ).action(async (id: string, o: RemoteOptions) =>
    followOperation(o, (await call(clientOf(o), 'GET', pathOf(id))) as OperationJson),
  )
  remote(
    operations
      .command('cancel <id>')
      .description('end it; a cancelled drain gives the node its work back. Exit code 5 when it has ended')
      .names('operation')
      .example('skein operations cancel 1f0c2a9b77de', 'the node takes work again'),
  ).action(async (id: string, o: RemoteOptions) => {
    const operation = (await call(clientOf(o), 'DELETE', pathOf(id))) as OperationJson
    if (o.json === true) printJson(operation)
    else print(`${operation.kind} of ${operation.node_id}: ${operation.detail}`)
  })
}

function coloured(state: OperationJson['state']): string {
  return paint(state === 'done' ? 'green' : state === 'running' ? 'yellow' : 'red', state)
}
