/** `skein version`: of this command, and of a node when one is asked for. */
import { version } from '../../core/version.js'
import type { ClusterStatusJson } from '../../http/contract.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { print, printJson } from '../output.js'
import { clientOf, type RemoteOptions, remote } from '../remote.js'

export function addVersion(program: SkeinCommand): void {
  remote(
    program
      .command('version')
      .description('of this command, of Node.js and of the platform; with --addr also of that node')
      .example('skein version', 'what is installed here')
      .example('skein version --addr 10.0.0.1:8151 --json', 'and what runs there'),
  ).action(async (o: RemoteOptions, command: SkeinCommand) => {
    const facts = { version, node: process.versions.node, platform: `${process.platform}-${process.arch}` }
    const isAsked = command.getOptionValueSource('addr') === 'cli'
    const there = isAsked ? await askNode(o) : undefined
    if (o.json === true) printJson({ ...facts, ...(there === undefined ? {} : { remote: there }) })
    else {
      print(`skein ${facts.version}, Node.js ${facts.node}, ${facts.platform}`)
      if (there !== undefined)
        print(`${there.node_id} runs skein ${there.version}, format level ${there.format_level}`)
    }
  })
}

async function askNode(o: RemoteOptions) {
  const status = (await call(clientOf(o), 'GET', '/api/cluster/status')) as ClusterStatusJson
  return { node_id: status.node.id, version: status.node.version, format_level: status.format_level }
}
