/** `skein doctor`: what would keep a node with these options from working, each with the fix. */
import type { Command } from 'commander'
import { examine } from '../../runtime/doctor.js'
import { CliFailure, exitCodes } from '../exit.js'
import { addFlags } from '../flags.js'
import { nodeConfigOf, type StartOptions } from '../node-config.js'
import { print, printJson } from '../output.js'

export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description(
      'look for what would keep a node with these options from working; takes the options of start',
    )
  addFlags(command)
  command.option('--config <file>', 'JSON file with any of these options by their keys')
  command.option('--json', 'print the findings as JSON')
  command.action(doctor)
}

async function doctor(given: StartOptions): Promise<void> {
  const checks = await examine(nodeConfigOf(given))
  if (given.json === true) printJson(checks)
  else
    for (const { name, ok, detail, fix } of checks) {
      print(`${ok ? 'ok  ' : 'BAD '} ${name}: ${detail}`)
      if (!ok) print(`     ${fix}`)
    }
  const bad = checks.filter((c) => !c.ok).length
  if (bad > 0) throw new CliFailure(exitCodes.failed, `${bad} of ${checks.length} findings are bad`)
}
