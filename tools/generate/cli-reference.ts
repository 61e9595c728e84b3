/** docs/CLI.md: every command with its arguments, options and examples, from the tree of commands itself. */
import { commandsOf, type SkeinCommand } from '../../src/cli/command.js'
import { exitWords } from '../../src/cli/exit.js'
import { buildProgram } from '../../src/cli/program.js'

const meanings: Readonly<Record<number, string>> = {
  0: 'it was done',
  1: 'it was not done; the line on standard error says why',
  2: 'what was typed, or sent, cannot be meant so',
  3: 'no node answers there',
  4: 'what is named does not exist',
  5: 'it cannot be done as things are: it exists already, is another version, has ended',
  6: 'it took too long; whether it was done is not known',
  7: '`skein status`: the cluster is degraded',
}

/** Options of `start`, which docs/OPTIONS.md lists, are not listed again for each command that takes them. */
const takesStartOptions = new Set(['skein start', 'skein doctor', 'skein carry'])

export function cliReference(): string {
  const program = buildProgram()
  const commands = commandsOf(program).filter((command) => !isHidden(program, command))
  return [intro(commands), ...commands.map(section)].join('\n')
}

function isHidden(program: SkeinCommand, command: SkeinCommand): boolean {
  const top = command.parent === program ? command : undefined
  return top !== undefined && !program.shown.includes(top)
}

function intro(commands: readonly SkeinCommand[]): string {
  const codes = Object.entries(exitWords).map(
    ([code, words]) => `| ${code} | ${words} | ${meanings[Number(code)] ?? ''} |`,
  )
  return `# Commands

<!-- Made by npm run docs:generate from the declarations in src/cli/commands. Do not edit. -->

\`skein COMMAND --help\` says the same in a terminal.

${commands.map((c) => `- [\`${c.path}\`](#${anchor(c.path)}): ${plain(c.description())}`).join('\n')}

## Of all commands

- \`--json\` prints the answer as one JSON document, the shape that HTTP has; commands that print many things (events, lines of a log) print one line of JSON each. With it a failure is one line of JSON on standard error: \`{"error": {"code", "detail", "exit_code", "hint"}}\`.
- \`--addr HOST:PORT\` or \`SKEIN_ADDR\` is the node that is asked, 127.0.0.1:8151 otherwise; \`https://HOST:PORT\` where it serves HTTPS, with \`--tls-ca\` for its authority. Any node answers for the whole cluster; of several joined by commas the next is asked when one cannot be reached.
- \`--token\` or \`SKEIN_TOKEN\` is the bearer token; \`--tls-cert\` and \`--tls-key\` show a certificate instead.
- \`--watch\` of whatever shows something looks again every \`--interval\` seconds (2 unless told otherwise) until Ctrl-C: in place on a terminal, one line of JSON each with \`--json\`. A node that cannot be reached meanwhile is waited for.
- What is misspelt is answered with the nearest that there is: commands, options, nodes, agents, rooms, services, names, documents.
- Long work (drain, rebalance, carry, a file of events) shows a bar on a terminal. Ctrl-C leaves a drain or a rebalance to itself and says how to look at it again; a carry or a file goes on where it was when the command is given again.
- Standard output has the result, standard error all else. Colours only on a terminal, and not with \`NO_COLOR\`.
- Completion of commands, options and names: \`source <(skein completion bash)\`, likewise \`zsh\`; \`skein completion fish | source\`.

| exit code | | |
| --- | --- | --- |
${codes.join('\n')}
`
}

function section(command: SkeinCommand): string {
  const parts = [`## ${command.path}`, '', `${sentence(plain(command.description()))}`, '']
  parts.push('```', `${command.path} ${command.usage()}`, '```', '')
  if (command.longer !== '') parts.push(plain(command.longer), '')
  const aliases = command.aliases()
  if (aliases.length > 0) parts.push(`Also \`${aliases.join('`, `')}\`.`, '')
  if (takesStartOptions.has(command.path)) parts.push('Takes the [options of start](OPTIONS.md).', '')
  const rows = optionsOf(command)
  if (rows.length > 0) parts.push('| option | |', '| --- | --- |', ...rows, '')
  if (command.examples.length > 0) {
    parts.push('```sh')
    for (const { line, what } of command.examples) parts.push(`# ${what}`, line)
    parts.push('```', '')
  }
  parts.push(`Exit codes: ${command.exitCodes.map((code) => `${code} ${exitWords[code]}`).join(', ')}.`, '')
  return parts.join('\n')
}

/** Without those that all have, which are told once. */
function optionsOf(command: SkeinCommand): readonly string[] {
  const isOfStart = takesStartOptions.has(command.path)
  const startFlags = new Set(
    isOfStart ? commandsOf(buildProgram())[0]?.options.map((option) => option.long) : [],
  )
  const everywhere = new Set([
    '--json',
    '--addr',
    '--token',
    '--tls-ca',
    '--tls-cert',
    '--tls-key',
    '--interval',
  ])
  return command.options
    .filter(({ hidden, long }) => !hidden && !everywhere.has(long ?? ''))
    .filter(({ long }) => !startFlags.has(long ?? '') || ['--config', '--print-config'].includes(long ?? ''))
    .map((option) => `| \`${cell(option.flags)}\` | ${cell(plain(option.description))}${defaultOf(option)} |`)
}

function defaultOf({
  defaultValue,
  envVar,
}: {
  defaultValue?: unknown
  envVar?: string | undefined
}): string {
  const isPlain =
    defaultValue === undefined ||
    defaultValue === false ||
    (Array.isArray(defaultValue) && defaultValue.length === 0)
  const words = isPlain ? '' : `; default \`${String(defaultValue)}\``
  return `${words}${envVar === undefined ? '' : `; or \`${envVar}\``}`
}

function anchor(path: string): string {
  return path.replaceAll(' ', '-')
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** Angles would be HTML. */
function plain(text: string): string {
  return text.replaceAll('<', '&lt;')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
