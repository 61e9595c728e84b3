/** `skein doctor`: what would keep a node with these options from working, or troubles the one that runs; each with the fix. */
import { Option } from 'commander'
import type { NodeConfig } from '../../runtime/node-api.js'
import { checkup, type Finding } from '../checkup.js'
import type { ClientOptions } from '../client.js'
import { type SkeinCommand, withJson } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { addFlags } from '../flags.js'
import { nodeConfigOf, type StartOptions } from '../node-config.js'
import { paint, print, printJson } from '../output.js'

interface DoctorOptions extends StartOptions {
  readonly addr?: string
  readonly token?: string
}

export function addDoctor(program: SkeinCommand): void {
  const command = program
    .command('doctor')
    .description('what would keep a node with these options from working, or troubles the one that runs')
    .details(
      'Takes the options of start, and looks at this host with them: versions, open files, clock, data directory, disk, keys, certificates, addresses, ports, peers, store, journal. Where a node runs, it is asked for its cluster as well: leader, quorum, members, clocks, disks, versions, the auditor. Each finding that is bad comes with its fix; exit code 1 when there is one. It joins nothing and takes no lease.',
    )
    .example('skein doctor', 'of a node with the default options, and of the one that runs there')
    .example('skein doctor --config node.json', 'before it is started')
    .example('skein doctor --addr 10.0.0.2:8151 --token "$TOKEN"', 'this host, and the cluster of that node')
    .example("skein doctor --json | jq '.[] | select(.ok | not)'", 'only what is bad')
  addFlags(command)
  command.option('--config <file>', 'JSON file with any of these options by their keys')
  command.addOption(
    new Option('--addr <host:port>', 'node to ask; without it the one at --host and --port, if it is there')
      .env('SKEIN_ADDR')
      .helpGroup('Connection:'),
  )
  command.addOption(new Option('--token <token>', 'bearer token').env('SKEIN_TOKEN').helpGroup('Connection:'))
  withJson(command, 'print the findings as JSON').action(doctor)
}

async function doctor(given: DoctorOptions): Promise<void> {
  const config = nodeConfigOf(given)
  // Loaded when it is wanted: most commands need nothing of a node.
  const { examine } = await import('../../runtime/doctor.js')
  const findings: readonly Finding[] = [
    ...(await examine(config)),
    ...(await checkup(clientOf(given, config), given.addr !== undefined)),
  ]
  if (given.json === true) printJson(findings)
  else
    for (const { name, ok, detail, fix } of findings) {
      print(`${ok ? paint('green', 'ok  ') : paint('red', 'BAD ')} ${name}: ${detail}`)
      if (!ok) print(`     ${fix}`)
    }
  const bad = findings.filter((each) => !each.ok).length
  if (bad > 0)
    throw new CliFailure(exitCodes.failed, `${bad} of ${findings.length} findings are bad`, {
      code: 'unwell',
    })
}

/** Where a node with these options would be. */
function clientOf({ addr, token }: DoctorOptions, config: NodeConfig): ClientOptions {
  const { host, port, httpsCert, tlsCa, tlsCert, tlsKey } = config
  const at = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const isHttps = httpsCert !== undefined
  const own = `${isHttps ? 'https://' : ''}${at.includes(':') ? `[${at}]` : at}:${port}`
  return { addr: addr ?? own, token, ...(isHttps ? { tls: { tlsCa, tlsCert, tlsKey } } : {}) }
}
