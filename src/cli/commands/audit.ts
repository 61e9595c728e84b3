/** Who did what, over all nodes; and who one is to the node that is asked. */
import type { Command } from 'commander'
import type { AuditJson, IdentityJson } from '../../http/contract.js'
import { call } from '../client.js'
import { paint, print, printJson } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

interface AuditOptions extends RemoteOptions {
  readonly limit: string
  readonly after?: string
}

export function addAudit(program: Command): void {
  remote(
    program
      .command('audit')
      .description('who did what, over all nodes, oldest first; needs an admin token once tokens are set')
      .option('--limit <n>', 'the newest so many, or the first after --after', '100')
      .option('--after <hlc>', 'go on after this entry'),
  ).action(audit)
  remote(program.command('whoami').description('who this token is to the node, and what it may do')).action(
    whoami,
  )
}

async function audit(o: AuditOptions): Promise<void> {
  const query = new URLSearchParams({ limit: String(whole('--limit', o.limit, 1, 1_000)) })
  if (o.after !== undefined) query.set('after', o.after)
  const answer = (await call(clientOf(o), 'GET', `/api/audit?${query}`)) as AuditJson
  if (o.json === true) {
    printJson(answer)
    return
  }
  for (const e of answer.entries) {
    const times = e.count === undefined ? '' : `  ${e.count} times since ${e.since}`
    const outcome = `${e.status}${e.code === undefined ? '' : ` ${e.code}`}`
    const who = `${e.who}${e.role === null ? '' : ` (${e.role})`} from ${e.address}`
    print(
      `${e.at}  ${e.node}  ${who}  ${e.method} ${e.target}  ${paint(e.status < 400 ? 'green' : 'red', outcome)}${times}`,
    )
  }
  for (const { node_id, error } of answer.incomplete ?? [])
    process.stderr.write(`(without the entries of ${node_id}: ${error})\n`)
  if (answer.next_cursor !== undefined)
    process.stderr.write(`there are more: --after ${answer.next_cursor}\n`)
}

async function whoami(o: RemoteOptions): Promise<void> {
  const me = (await call(clientOf(o), 'GET', '/api/auth')) as IdentityJson
  if (o.json === true) printJson(me)
  else if (me.role === null) print('nobody: this node needs a token (--token, SKEIN_TOKEN)')
  else print(`${me.name}, ${me.role}${me.required ? '' : ' (no token is set: everybody is)'}`)
}
