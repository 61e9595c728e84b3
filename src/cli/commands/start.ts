/** `skein start`: one node in this process, until a signal or its own end. */
import { type SettingRow, settingRows } from '../../config/print.js'
import { toNodeConfig } from '../../config/resolve.js'
import type { NodeConfig, SkeinNode } from '../../runtime/node-api.js'
import { presets } from '../../runtime/presets.js'
import { onThisMachine, type SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { addFlags } from '../flags.js'
import { explain, readSettings, type StartOptions } from '../node-config.js'
import { print, printJson, printTable } from '../output.js'

export function addStart(program: SkeinCommand): void {
  const command = program
    .command('start')
    .description('start a node; without peers it runs alone, with the same API')
    .details(
      'Every option is also SKEIN_<OPTION> in the environment and a key of the file given with --config. A flag counts before the environment, that before the file, that before the preset. The first SIGTERM or Ctrl-C hands over what the node has and ends it, the second ends it at once.',
    )
    .example('skein start', 'a node of its own, with the dashboard at http://127.0.0.1:8151/')
    .example(
      'skein start --node-id node-2 --port 8152 --peer-port 6746 --data-dir .skein/node-2 --peer 127.0.0.1:6745',
      'a second one of the same host',
    )
    .example('skein start --config node.json --print-config', 'every value, and where it came from')
  addFlags(command)
  command.option('--config <file>', 'JSON file with any of these options by their keys')
  command.option('--print-config', 'show every value and where it came from, then end')
  onThisMachine(command, 'print one line of JSON when the node is up').action(start)
}

async function start(given: StartOptions): Promise<void> {
  const settings = readSettings(given)
  const config = toNodeConfig(settings)
  if (given.printConfig === true) {
    const rows = [...settingRows(settings), ...timingRows(config.preset)]
    if (given.json === true) printJson(rows)
    else
      printTable(
        ['KEY', 'VALUE', 'SOURCE'],
        rows.map((r) => [r.key, r.value === null ? '-' : JSON.stringify(r.value), r.source]),
      )
    return
  }
  // From the very start: whoever stops the process while it comes up is obeyed as soon as it is up.
  const signals = new StopSignals()
  // Loaded when it is wanted: most commands need nothing of a node.
  const { createNode } = await import('../../runtime/create-node.js')
  const node = await createNode(config).catch((error: unknown) => {
    throw explain(error)
  })
  announce(node, given.json === true)
  signals.stop(node)
  const { reason, error } = await node.ended
  if (error !== undefined) throw new CliFailure(exitCodes.failed, `node ended: ${error.message}`)
  if (given.json !== true) print(`stopped: ${reason}`)
  process.exit(exitCodes.ok)
}

/** The timings cannot be set one by one; the preset decides. They are shown because they explain what the node does. */
function timingRows(preset: NodeConfig['preset']): readonly SettingRow[] {
  const { membership, lease, ...rest } = presets[preset]
  const groups: readonly [string, object][] = [
    ['membership.', membership],
    ['lease.', lease],
    ['', rest],
  ]
  return groups.flatMap(([prefix, values]) =>
    Object.entries(values).map(([key, value]) => ({
      key: prefix + key,
      value,
      source: `preset ${preset}`,
    })),
  )
}

function announce(node: SkeinNode, asJson: boolean): void {
  const { id, httpAddress, peerAddress } = node.self
  if (asJson) print(JSON.stringify({ id, pid: process.pid, http: httpAddress, peer: peerAddress }))
  else print(`node ${id} is up: http://${httpAddress}/  peers connect to ${peerAddress}`)
}

/** The first signal drains, the second ends at once. */
class StopSignals {
  private first: NodeJS.Signals | undefined
  private node: SkeinNode | undefined

  constructor() {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.received(signal))
  }

  /** Ends this node at the first signal, or now if there was one. */
  stop(node: SkeinNode): void {
    this.node = node
    if (this.first !== undefined) void node.stop({ reason: this.first })
  }

  private received(signal: NodeJS.Signals): void {
    if (this.first !== undefined) process.exit(exitCodes.failed)
    this.first = signal
    void this.node?.stop({ reason: signal })
  }
}
