/** `skein services` and `skein names`: what is offered in the cluster, and calls of it. */
import type { Command } from 'commander'
import type { NameJson, ServiceJson } from '../../http/service-contract.js'
import { call } from '../client.js'
import { print, printJson, printTable } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

type CallOptions = RemoteOptions & { readonly timeout: string }

const segment = encodeURIComponent

export function addServices(program: Command): void {
  const services = program.command('services').description('services: ls, show, call')
  remote(services.command('ls').description('all services and who offers them')).action(
    async (o: RemoteOptions) => {
      const answer = (await call(clientOf(o), 'GET', '/api/services')) as { services: ServiceJson[] }
      if (o.json === true) printJson(answer)
      else
        printTable(
          ['SERVICE', 'VERSIONS', 'NODES', 'METHODS'],
          answer.services.map((s) => [
            s.name,
            s.versions.join(', '),
            s.instances.map((i) => (i.healthy ? i.node_id : `${i.node_id} (unwell)`)).join(', '),
            [...new Set(s.instances.flatMap((i) => i.methods.map((m) => m.name)))].join(', '),
          ]),
        )
    },
  )
  remote(services.command('show <name>').description('who offers it, and what')).action(
    async (name: string, o: RemoteOptions) => {
      const service = (await call(clientOf(o), 'GET', `/api/services/${segment(name)}`)) as ServiceJson
      if (o.json === true) printJson(service)
      else
        printTable(
          ['NODE', 'VERSION', 'ZONE', 'HEALTHY', 'CIRCUIT', 'IN FLIGHT', 'METHODS'],
          service.instances.map((i) => [
            i.node_id,
            i.version,
            i.zone,
            i.healthy ? 'yes' : 'no',
            i.circuit,
            i.in_flight,
            i.methods.map((m) => (m.stream ? `${m.name} (stream)` : m.name)).join(', '),
          ]),
        )
    },
  )
  remote(
    services
      .command('call <name> <method> [input]')
      .description('call a method; the input is JSON, or text where it is not')
      .option('--timeout <ms>', 'give up after', '5000')
      .option('--version <version>', 'this version, as in 2 or 2.1')
      .option('--node <id>', 'only there'),
  ).action(
    async (
      name: string,
      method: string,
      input: string | undefined,
      o: CallOptions & { readonly version?: string; readonly node?: string },
    ) => {
      const timeout_ms = whole('--timeout', o.timeout, 1, 60_000)
      await tell(o, `/api/services/${segment(name)}/${segment(method)}`, timeout_ms, {
        ...(input === undefined ? {} : { input: parsed(input) }),
        ...(o.version === undefined ? {} : { version: o.version }),
        ...(o.node === undefined ? {} : { node_id: o.node }),
      })
    },
  )
  addNames(program)
}

function addNames(program: Command): void {
  const names = program.command('names').description('global names: ls, show, call')
  remote(names.command('ls').description('all names and who holds them')).action(async (o: RemoteOptions) => {
    const answer = (await call(clientOf(o), 'GET', '/api/names')) as { names: NameJson[] }
    if (o.json === true) printJson(answer)
    else tableOf(answer.names)
  })
  remote(names.command('show <name>').description('who holds it')).action(
    async (name: string, o: RemoteOptions) => {
      const found = (await call(clientOf(o), 'GET', `/api/names/${segment(name)}`)) as NameJson
      if (o.json === true) printJson(found)
      else tableOf([found])
    },
  )
  remote(
    names
      .command('call <name> <method> [args...]')
      .description('call a method of what is registered; arguments are JSON, or text where they are not')
      .option('--timeout <ms>', 'give up after', '5000'),
  ).action(async (name: string, method: string, words: readonly string[], o: CallOptions) => {
    const timeout_ms = whole('--timeout', o.timeout, 1, 60_000)
    await tell(o, `/api/names/${segment(name)}/call`, timeout_ms, { method, args: words.map(parsed) })
  })
}

function tableOf(names: readonly NameJson[]): void {
  printTable(
    ['NAME', 'NODE', 'KIND', 'METHODS', 'SUCCESSORS'],
    names.map((n) => [n.name, n.node_id, n.kind, n.methods.join(', '), n.successors.join(', ')]),
  )
}

async function tell(o: RemoteOptions, path: string, timeout_ms: number, body: object): Promise<void> {
  const answer = (await call(clientOf(o), 'POST', path, { ...body, timeout_ms }, timeout_ms + 5_000)) as {
    result: unknown
  }
  if (o.json === true) printJson(answer)
  else print(typeof answer.result === 'string' ? answer.result : JSON.stringify(answer.result))
}

/** Not JSON: text as it is. */
function parsed(word: string): unknown {
  try {
    return JSON.parse(word) as unknown
  } catch {
    return word
  }
}
