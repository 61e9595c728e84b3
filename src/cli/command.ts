/**
 * A command as all of ours are: declared in one chain with its words, its options and its examples, from which `--help`, the completion of
 * shells, the reference in docs/CLI.md and the tests are made.
 */
import { Command, type Help, Option } from 'commander'
import { exitCodes, exitWords } from './exit.js'
import type { NameKind } from './names.js'

export interface Example {
  /** As typed, beginning with `skein`. */
  readonly line: string
  readonly what: string
}

/** Where a command looks for its answer. */
export type Reach = 'node' | 'machine' | 'group'

export const defaultAddr = '127.0.0.1:8151'

export class SkeinCommand extends Command {
  readonly examples: Example[] = []
  /** What the arguments name, in order, and options by their attribute: for completion. */
  readonly argumentNames: (NameKind | undefined)[] = []
  readonly optionNames = new Map<string, NameKind>()
  reach: Reach = 'group'
  longer = ''
  /** Of a group that does this when nothing more is said. */
  bare: string | undefined
  /** Does something itself; else it is a group. */
  acts = false
  private readonly codes = new Set<number>()

  override createCommand(name?: string): SkeinCommand {
    return new SkeinCommand(name)
  }

  override action(act: Parameters<Command['action']>[0]): this {
    this.acts = true
    return super.action(act)
  }

  /** Paragraphs below the description, for whoever asks for help on this command. */
  details(text: string): this {
    this.longer = text
    return this
  }

  example(line: string, what: string): this {
    this.examples.push({ line, what })
    return this
  }

  /** The arguments are names of these kinds. */
  names(...kinds: readonly (NameKind | undefined)[]): this {
    this.argumentNames.push(...kinds)
    return this
  }

  /** The value of an option declared before is a name of this kind. */
  naming(flag: string, kind: NameKind): this {
    const option = this.options.find((each) => each.long === flag)
    if (option === undefined) throw new Error(`${flag} is no option of ${this.name()}`)
    this.optionNames.set(option.attributeName(), kind)
    return this
  }

  /** Ends with these as well as the usual ones. */
  exits(...codes: readonly number[]): this {
    for (const code of codes) this.codes.add(code)
    return this
  }

  /** A group that lists when nothing more is said. */
  lists(name: string): this {
    this.bare = name
    return this
  }

  get exitCodes(): readonly number[] {
    const { ok, failed, usage, unreachable, notFound, conflict, timedOut } = exitCodes
    const usual =
      this.reach === 'node'
        ? [ok, failed, usage, unreachable, notFound, conflict, timedOut]
        : [ok, failed, usage]
    return [...new Set([...usual, ...this.codes])].sort((a, b) => a - b)
  }

  /** `skein nodes show`. */
  get path(): string {
    const names: string[] = []
    for (let at: Command | null = this; at !== null; at = at.parent) names.unshift(at.name())
    return names.join(' ')
  }

  get children(): readonly SkeinCommand[] {
    return this.commands as readonly SkeinCommand[]
  }

  /** Those that help tells of. */
  get shown(): readonly SkeinCommand[] {
    const visible: readonly Command[] = this.createHelp().visibleCommands(this)
    return this.children.filter((each) => visible.includes(each))
  }
}

/** `--json`, in the group of options that say how the answer is printed. */
export function withJson(command: SkeinCommand, what = 'print the answer as JSON'): SkeinCommand {
  command.addOption(new Option('--json', what).helpGroup('Output:'))
  return command
}

/** For commands that ask no node: those flags may stand there, so that a script can give them to every command. */
export function onThisMachine(command: SkeinCommand, what?: string): SkeinCommand {
  command.reach = 'machine'
  for (const flags of ['--addr <host:port>', '--token <token>'])
    command.addOption(new Option(flags, 'not used: this command asks no node').hideHelp())
  return withJson(command, what)
}

/** How help is laid out, for the program and all below it. */
export function helpLayout(): Partial<Help> {
  return {
    showGlobalOptions: false,
    commandDescription: (command) => {
      const { longer } = command as SkeinCommand
      return `${command.description()}${longer === '' ? '' : `\n\n${longer}`}`
    },
    subcommandDescription: (command) => command.description(),
    // A value that the environment sets is not the default, and must not look like it.
    optionDescription: (option) => {
      const words = [option.description]
      if (option.defaultValue !== undefined && option.defaultValue !== false)
        words.push(`(default: ${JSON.stringify(option.defaultValue)})`)
      if (option.envVar !== undefined) words.push(`(or ${option.envVar})`)
      return words.join(' ')
    },
  }
}

/** What stands below the options. */
export function helpEnding(command: SkeinCommand): string {
  const parts: string[] = ['']
  if (command.examples.length > 0) {
    parts.push('Examples:')
    for (const { line, what } of command.examples) parts.push(`  # ${what}`, `  ${line}`)
    parts.push('')
  }
  if (command.reach === 'machine') parts.push('Asks no node: --addr and --token are taken and not used.', '')
  if (command.bare !== undefined) parts.push(`Without a command it is ${command.path} ${command.bare}.`)
  if (command.acts)
    parts.push(`Exit codes: ${command.exitCodes.map((code) => `${code} ${exitWords[code]}`).join(', ')}`)
  return parts.join('\n')
}

/** Of the arguments: the command that they name, and what is left. A group without more is itself. */
export function commandAt(
  program: SkeinCommand,
  words: readonly string[],
): { readonly command: SkeinCommand; readonly rest: readonly string[] } {
  let command = program
  let at = 0
  for (; at < words.length; at++) {
    const word = words[at] as string
    const next = command.children.find((each) => each.name() === word || each.aliases().includes(word))
    if (next === undefined) break
    command = next
  }
  return { command, rest: words.slice(at) }
}

/** All commands that do something, in the order of the help. */
export function commandsOf(command: SkeinCommand): readonly SkeinCommand[] {
  return [...(command.acts ? [command] : []), ...command.children.flatMap(commandsOf)]
}
