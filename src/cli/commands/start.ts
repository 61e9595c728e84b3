/** `skein start`: one node in this process, until a signal or its own end. */
import type { Command } from 'commander'
import { options } from '../../config/options.js'
import { type FlagValues, printSettings, resolveConfig } from '../../config/resolve.js'
import { isSkeinError } from '../../core/kernel/error.js'
import { createNode } from '../../runtime/create-node.js'
import type { SkeinNode } from '../../runtime/node-api.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print, printJson } from '../output.js'

export function addStart(program: Command): void {
  const command = program
    .command('start')
    .description('start a node; without peers it runs alone, with the same API')
  for (const option of options) {
    const value =
      option.kind === 'boolean'
        ? ''
        : option.kind === 'list' || option.kind === 'labels'
          ? ' <value...>'
          : ' <value>'
    const range = option.choices === undefined ? '' : ` (${option.choices.join(', ')})`
    const standard =
      option.default === undefined || option.default === '' ? '' : ` [${JSON.stringify(option.default)}]`
    for (const [i, flag] of [option.flag, ...(option.aliases ?? [])].entries()) {
      command.option(
        `--${flag}${value}`,
        i === 0 ? `${option.doc}${range}${standard}` : `same as --${option.flag}`,
      )
    }
  }
  command.option('--config <file>', 'JSON file with any of these options by their keys')
  command.option('--print-config', 'show every value and where it came from, then end')
  command.option('--json', 'print one line of JSON when the node is up')
  command.action(async (given: Record<string, unknown>) => {
    await start(given)
  })
}

async function start(given: Record<string, unknown>): Promise<void> {
  const { config, settings } = readConfig(given)
  if (given.printConfig === true) {
    if (given.json === true)
      printJson(
        settings.map(({ option, value, source }) => ({
          key: option.key,
          value: option.isSecret === true && value !== undefined ? '(hidden)' : value,
          source,
        })),
      )
    else print(printSettings(settings))
    return
  }
  let node: SkeinNode
  try {
    node = await createNode({ ...config, threads: 'worker', http: true })
  } catch (error) {
    throw explain(error)
  }
  announce(node, given.json === true)
  stopOnSignals(node)
  const { reason, error } = await node.ended
  if (error !== undefined) throw new CliFailure(exitCodes.failed, `node ended: ${error.message}`)
  if (given.json !== true) print(`stopped: ${reason}`)
  process.exit(exitCodes.ok)
}

export function readConfig(given: Record<string, unknown>): ReturnType<typeof resolveConfig> {
  const flags: Record<string, FlagValues[string]> = {}
  for (const option of options) {
    for (const flag of [option.flag, ...(option.aliases ?? [])]) {
      const value = given[camel(flag)] as FlagValues[string]
      if (value === undefined) continue
      const before = flags[option.key]
      flags[option.key] = Array.isArray(before) && Array.isArray(value) ? [...before, ...value] : value
    }
  }
  try {
    return resolveConfig(flags, process.env, given.config as string | undefined)
  } catch (error) {
    throw explain(error)
  }
}

function camel(flag: string): string {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

function explain(error: unknown): Error {
  if (!isSkeinError(error)) return error instanceof Error ? error : new Error(String(error))
  const exitCode =
    error.code === 'bad_config' || error.code === 'bad_address' ? exitCodes.usage : exitCodes.failed
  return new CliFailure(exitCode, `${error.code}: ${error.message}`)
}

function announce(node: SkeinNode, asJson: boolean): void {
  const { id, httpAddress, peerAddress } = node.self
  if (asJson) print(JSON.stringify({ id, pid: process.pid, http: httpAddress, peer: peerAddress }))
  else print(`node ${id} is up: http://${httpAddress}/  peers connect to ${peerAddress}`)
}

/** The first signal drains, the second ends at once. */
function stopOnSignals(node: SkeinNode): void {
  let signals = 0
  const onSignal = (signal: NodeJS.Signals): void => {
    if (++signals > 1) process.exit(exitCodes.failed)
    void node.stop({ reason: signal })
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}
