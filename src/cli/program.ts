/** The tree of all commands: what `skein` parses, what completion offers, what docs/CLI.md is made of. Nothing runs here. */
import { version } from '../core/version.js'
import { helpEnding, helpLayout, SkeinCommand } from './command.js'
import { addAgents } from './commands/agents.js'
import { addAudit } from './commands/audit.js'
import { addBalance } from './commands/balance.js'
import { addCarry } from './commands/carry.js'
import { addCluster } from './commands/cluster.js'
import { addCompletion } from './commands/completion.js'
import { addConfig } from './commands/config.js'
import { addDoctor } from './commands/doctor.js'
import { addEvents } from './commands/events.js'
import { addKeys } from './commands/keys.js'
import { addMaps } from './commands/maps.js'
import { addNetwork } from './commands/network.js'
import { addNodes } from './commands/nodes.js'
import { addOperations } from './commands/operations.js'
import { addRooms } from './commands/rooms.js'
import { addServices } from './commands/services.js'
import { addSpawn } from './commands/spawn.js'
import { addStart } from './commands/start.js'
import { addTop } from './commands/top.js'
import { addUp } from './commands/up.js'
import { addVersion } from './commands/version.js'

export function buildProgram(): SkeinCommand {
  const program = new SkeinCommand('skein')
    .description('the cluster runtime for TypeScript')
    .details('skein COMMAND --help says more about each. The reference is docs/CLI.md.')
    .version(version)
    .exitOverride()
    // What went wrong is told in one place, main.ts.
    .configureOutput({ outputError: () => {} })
    // A command may have an option that the program has too, as `services call --version`.
    .enablePositionalOptions()
    .configureHelp(helpLayout())
    .helpCommand('help [command]', 'what a command takes, with examples')
    .addHelpText('afterAll', ({ command }) => helpEnding(command as SkeinCommand))
  const groups: readonly [string, readonly ((program: SkeinCommand) => void)[]][] = [
    ['Run nodes:', [addStart, addUp, addDoctor, addCarry]],
    ['See the cluster:', [addTop, addCluster, addNetwork, addAudit]],
    ['Steer it:', [addNodes, addOperations, addBalance]],
    ['Use it:', [addEvents, addAgents, addServices, addSpawn, addRooms, addConfig, addMaps]],
    ['Keys, and this command:', [addKeys, addCompletion, addVersion]],
  ]
  for (const [heading, adders] of groups) {
    program.commandsGroup(heading)
    for (const add of adders) add(program)
  }
  program
    .example('skein up --nodes 3', 'a local cluster with its dashboard')
    .example('skein status', 'how it is')
    .example('skein top', 'all of it at a glance, as it moves')
  return program
}
