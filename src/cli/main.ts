/** The `skein` command: parsing, and failures turned into exit codes. */
import { Command, CommanderError } from 'commander'
import { version } from '../core/version.js'
import { addCluster } from './commands/cluster.js'
import { addEvents } from './commands/events.js'
import { addStart } from './commands/start.js'
import { addUp } from './commands/up.js'
import { CliFailure, exitCodes } from './exit.js'

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
  const setExit = (command: Command): void => {
    command.exitOverride()
    command.commands.forEach(setExit)
  }
  setExit(program)
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
