/** The `skein` command: parsing, and failures turned into exit codes. */
import { Command, CommanderError } from 'commander'
import { version } from '../core/version.js'
import { addAgents } from './commands/agents.js'
import { addAudit } from './commands/audit.js'
import { addCarry } from './commands/carry.js'
import { addCluster } from './commands/cluster.js'
import { addConfig } from './commands/config.js'
import { addDoctor } from './commands/doctor.js'
import { addEvents } from './commands/events.js'
import { addKeys } from './commands/keys.js'
import { addRooms } from './commands/rooms.js'
import { addServices } from './commands/services.js'
import { addSpawn } from './commands/spawn.js'
import { addStart } from './commands/start.js'
import { addUp } from './commands/up.js'
import { CliFailure, exitCodes } from './exit.js'
import { print, printJson } from './output.js'

export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('skein')
    .description('the cluster runtime for TypeScript')
    .version(version)
    .showHelpAfterError('(skein --help lists the commands)')
    .exitOverride()
  addStart(program)
  addUp(program)
  addCluster(program)
  addEvents(program)
  addAgents(program)
  addServices(program)
  addSpawn(program)
  addRooms(program)
  addConfig(program)
  addDoctor(program)
  addCarry(program)
  addAudit(program)
  addKeys(program)
  program
    .command('version')
    .description('of this command, of Node.js and of the platform')
    .option('--json', 'print it as JSON')
    .action(({ json }: { readonly json?: boolean }) => {
      const facts = { version, node: process.versions.node, platform: `${process.platform}-${process.arch}` }
      if (json === true) printJson(facts)
      else print(`skein ${facts.version}, Node.js ${facts.node}, ${facts.platform}`)
    })
  const setExit = (command: Command): void => {
    command.exitOverride()
    command.commands.forEach(setExit)
  }
  setExit(program)
  // A reader that has seen enough (`… | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.failed)
  })
  try {
    await program.parseAsync(argv)
  } catch (error) {
    process.exit(report(error))
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  if (error instanceof CliFailure) {
    process.stderr.write(`skein: ${error.message}\n`)
    return error.exitCode
  }
  process.stderr.write(`skein: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  return exitCodes.failed
}
