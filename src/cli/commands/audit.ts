/** Who did what, over all nodes; and who one is to the node that is asked. */
import type { AuditJson, IdentityJson } from '../../http/contract.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { paint } from '../output.js'
import { clientOf, type RemoteOptions, whole } from '../remote.js'
import { shows } from '../view.js'

interface AuditOptions extends RemoteOptions {
  readonly limit: string
  readonly after?: string
}

export function addAudit(program: SkeinCommand): void {
  shows<AuditJson, AuditOptions>(
    program
      .command('audit')
      .description('who did what, over all nodes, oldest first; needs an admin token once tokens are set')
      .option('--limit <n>', 'the newest so many, or the first after --after', '100')
      .option('--after <hlc>', 'go on after this entry')
      .example('skein audit --limit 20', 'the newest twenty')
      .example('skein audit --json --token "$ADMIN"', 'as JSON, with a token of an administrator'),
    {
      ask: async (o) => {
        const query = new URLSearchParams({ limit: String(whole('--limit', o.limit, 1, 1_000)) })
        if (o.after !== undefined) query.set('after', o.after)
        return (await call(clientOf(o), 'GET', `/api/audit?${query}`)) as AuditJson
      },
      lines: ({ entries }) => entries.map(lineOf),
      notes: ({ incomplete, next_cursor }) => [
        ...(incomplete ?? []).map(({ node_id, error }) => `(without the entries of ${node_id}: ${error})`),
        ...(next_cursor === undefined ? [] : [`there are more: --after ${next_cursor}`]),
      ],
    },
  )
  shows<IdentityJson>(
    program
      .command('whoami')
      .description('who this token is to the node, and what it may do')
      .example('skein whoami --token "$TOKEN"', 'its name and role'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/auth')) as IdentityJson,
      lines: (me) => [
        me.role === null
          ? 'nobody: this node needs a token (--token, SKEIN_TOKEN)'
          : `${me.name}, ${me.role}${me.required ? '' : ' (no token is set: everybody is)'}`,
      ],
    },
  )
}

function lineOf(e: AuditJson['entries'][number]): string {
  const times = e.count === undefined ? '' : `  ${e.count} times since ${e.since}`
  const outcome = `${e.status}${e.code === undefined ? '' : ` ${e.code}`}`
  const who = `${e.who}${e.role === null ? '' : ` (${e.role})`} from ${e.address}`
  return `${e.at}  ${e.node}  ${who}  ${e.method} ${e.target}  ${paint(e.status < 400 ? 'green' : 'red', outcome)}${times}`
}
