/** `skein services` and `skein names`: what is offered in the cluster, and calls of it. */
import type { NameJson, ServiceJson } from '../../http/service-contract.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { print, printJson, table } from '../output.js'
import { clientOf, jsonOrText, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'

type CallOptions = RemoteOptions & { readonly timeout: string }

const segment = (name: string | undefined): string => encodeURIComponent(name ?? '')

export function addServices(program: SkeinCommand): void {
  const services = program.command('services').description('services: ls, show, call').lists('ls')
  shows<{ services: readonly ServiceJson[] }>(
    services
      .command('ls')
      .description('all services and who offers them')
      .example('skein services ls', 'with versions, nodes and methods'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/services')) as { services: ServiceJson[] },
      lines: ({ services: list }) =>
        table(
          ['SERVICE', 'VERSIONS', 'NODES', 'METHODS'],
          list.map((s) => [
            s.name,
            s.versions.join(', '),
            s.instances.map((i) => (i.healthy ? i.node_id : `${i.node_id} (unwell)`)).join(', '),
            [...new Set(s.instances.flatMap((i) => i.methods.map((m) => m.name)))].join(', '),
          ]),
        ),
    },
  )
  shows<ServiceJson>(
    services
      .command('show <name>')
      .description('who offers it, and what')
      .names('service')
      .example('skein services show pricing --watch', 'health, circuit and calls under way of each instance'),
    {
      ask: async (o, name) =>
        (await call(clientOf(o), 'GET', `/api/services/${segment(name)}`)) as ServiceJson,
      lines: ({ instances }) =>
        table(
          ['NODE', 'VERSION', 'ZONE', 'HEALTHY', 'CIRCUIT', 'IN FLIGHT', 'METHODS'],
          instances.map((i) => [
            i.node_id,
            i.version,
            i.zone,
            i.healthy ? 'yes' : 'no',
            i.circuit,
            i.in_flight,
            i.methods.map((m) => (m.stream ? `${m.name} (stream)` : m.name)).join(', '),
          ]),
        ),
    },
  )
  remote(
    services
      .command('call <name> <method> [input]')
      .description('call a method; the input is JSON, or text where it is not')
      .names('service')
      .option('--timeout <ms>', 'give up after', '5000')
      .option('--version <version>', 'this version, as in 2 or 2.1')
      .option('--node <id>', 'only there')
      .naming('--node', 'node')
      .example('skein services call pricing quote \'{"sku": "a1"}\'', 'on whoever offers it')
      .example('skein services call pricing quote a1 --node node-2 --version 2', 'there, and that version'),
  ).action(callService)
  addNames(program)
}

function addNames(program: SkeinCommand): void {
  const names = program.command('names').description('global names: ls, show, call').lists('ls')
  shows<{ names: readonly NameJson[] }>(
    names
      .command('ls')
      .description('all names and who holds them')
      .example('skein names ls', 'with their successors'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/names')) as { names: NameJson[] },
      lines: ({ names: list }) => nameLines(list),
    },
  )
  shows<NameJson>(
    names
      .command('show <name>')
      .description('who holds it')
      .names('name')
      .example('skein names show scheduler', 'its node and methods'),
    {
      ask: async (o, name) => (await call(clientOf(o), 'GET', `/api/names/${segment(name)}`)) as NameJson,
      lines: (found) => nameLines([found]),
    },
  )
  remote(
    names
      .command('call <name> <method> [args...]')
      .description('call a method of what is registered; arguments are JSON, or text where they are not')
      .names('name')
      .option('--timeout <ms>', 'give up after', '5000')
      .example('skein names call scheduler next 3', 'wherever it is'),
  ).action(async (name: string, method: string, words: readonly string[], o: CallOptions) => {
    const timeout_ms = whole('--timeout', o.timeout, 1, 60_000)
    await result(o, `/api/names/${segment(name)}/call`, timeout_ms, { method, args: words.map(jsonOrText) })
  })
}

async function callService(
  name: string,
  method: string,
  input: string | undefined,
  o: CallOptions & { readonly version?: string; readonly node?: string },
): Promise<void> {
  const timeout_ms = whole('--timeout', o.timeout, 1, 60_000)
  await result(o, `/api/services/${segment(name)}/${segment(method)}`, timeout_ms, {
    ...(input === undefined ? {} : { input: jsonOrText(input) }),
    ...(o.version === undefined ? {} : { version: o.version }),
    ...(o.node === undefined ? {} : { node_id: o.node }),
  })
}

function nameLines(names: readonly NameJson[]): readonly string[] {
  return table(
    ['NAME', 'NODE', 'KIND', 'METHODS', 'SUCCESSORS'],
    names.map((n) => [n.name, n.node_id, n.kind, n.methods.join(', '), n.successors.join(', ')]),
  )
}

async function result(o: RemoteOptions, path: string, timeout_ms: number, body: object): Promise<void> {
  const answer = (await call(clientOf(o), 'POST', path, { ...body, timeout_ms }, timeout_ms + 5_000)) as {
    result: unknown
  }
  if (o.json === true) printJson(answer)
  else print(typeof answer.result === 'string' ? answer.result : JSON.stringify(answer.result))
}
