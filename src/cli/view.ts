/**
 * A command that shows something: one question to a node, and its answer as JSON, as lines for people, or again and again with `--watch`.
 * Watching goes on while the node cannot be reached, and says so; it ends with Ctrl-C.
 */
import { Option } from 'commander'
import type { SkeinCommand } from './command.js'
import { CliFailure, exitCodes } from './exit.js'
import { pause, untilInterrupted } from './interrupt.js'
import { clip, print, printJson, printLines, sizeOf, tell } from './output.js'
import { type RemoteOptions, remote, whole } from './remote.js'

export interface WatchOptions extends RemoteOptions {
  readonly watch?: boolean
  readonly interval?: string
}

type Argument = string | undefined

export interface View<T, O extends RemoteOptions> {
  /** The answer of a node, whole: what `--json` prints. */
  ask(o: O, ...args: readonly Argument[]): Promise<T>
  lines(value: T, o: O, ...args: readonly Argument[]): readonly string[]
  /** Beside the result, once. */
  notes?(value: T, o: O): readonly string[]
  /** 0 unless told otherwise. */
  exitCode?(value: T): number
  /** What the answer says has failed: told behind it, as any failure is. */
  failure?(value: T): CliFailure | undefined
}

/** The options of a node, `--watch`, and the action. */
export function shows<T, O extends RemoteOptions = RemoteOptions>(
  command: SkeinCommand,
  view: View<T, O>,
): SkeinCommand {
  watched(remote(command))
  command.action(async (...given: unknown[]) => {
    // Commander hands over the arguments, the options and the command.
    const args = given.slice(0, -2) as readonly Argument[]
    const o = given.at(-2) as O & WatchOptions
    await present(view, o, args)
  })
  return command
}

/** The options alone, for commands with an action of their own. */
export function watched(command: SkeinCommand): SkeinCommand {
  command.addOption(
    new Option(
      '-w, --watch',
      'again and again until Ctrl-C: drawn in place, or one line of JSON each',
    ).helpGroup('Output:'),
  )
  command.addOption(new Option('--interval <seconds>', 'between two looks').default('2').helpGroup('Output:'))
  return command
}

async function present<T, O extends RemoteOptions>(
  view: View<T, O>,
  o: O & WatchOptions,
  args: readonly Argument[],
): Promise<void> {
  if (o.watch === true) {
    await watch(view, o, args)
    return
  }
  const value = await view.ask(o, ...args)
  if (o.json === true) printJson(value)
  else printLines(view.lines(value, o, ...args))
  if (o.json !== true) for (const note of view.notes?.(value, o) ?? []) tell(note)
  const code = view.exitCode?.(value) ?? exitCodes.ok
  if (code !== exitCodes.ok) process.exitCode = code
  const failure = view.failure?.(value)
  if (failure !== undefined) throw failure
}

/** The first look must succeed: a wrong address or name is not worth waiting for. */
async function watch<T, O extends RemoteOptions>(
  view: View<T, O>,
  o: O & WatchOptions,
  args: readonly Argument[],
): Promise<void> {
  const periodMs = whole('--interval', o.interval ?? '2', 1, 3_600) * 1_000
  const { signal, release } = untilInterrupted()
  const screen = new Redrawn()
  let trouble: string | undefined
  let last: readonly string[] = []
  try {
    for (let looks = 0; ; looks++) {
      try {
        const value = await view.ask(o, ...args)
        trouble = undefined
        last = [...view.lines(value, o, ...args), ...(view.notes?.(value, o) ?? [])]
        if (o.json === true) print(JSON.stringify(value))
      } catch (error) {
        if (looks === 0 || !(error instanceof CliFailure) || error.exitCode === exitCodes.usage) throw error
        trouble = error.message
        if (o.json === true) tell(`skein: ${trouble}`)
      }
      if (o.json !== true) screen.draw(last, trouble)
      if (await pause(periodMs, signal)) return
    }
  } finally {
    release()
  }
}

/** A picture drawn over the one before, the last one left standing; without a terminal one below the other. */
class Redrawn {
  private linesUp = 0

  draw(lines: readonly string[], trouble: string | undefined): void {
    const { columns, rows } = sizeOf(process.stdout)
    const heading = `${new Date().toISOString()}${trouble === undefined ? '' : `  NOT NOW: ${trouble}`}`
    if (process.stdout.isTTY !== true) {
      printLines([heading, ...lines, ''])
      return
    }
    const room = Math.max(1, rows - 3)
    const cut = lines.length > room ? [`… ${lines.length - room} more lines`] : []
    const picture = [heading, ...lines.slice(0, room), ...cut].map((line) => clip(line, columns))
    const up = this.linesUp === 0 ? '' : `\u001b[${this.linesUp}A`
    process.stdout.write(`${up}\r${picture.map((line) => `${line}\u001b[K\n`).join('')}\u001b[J`)
    this.linesUp = picture.length
  }
}
