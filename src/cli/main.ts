/** The `skein` command: parsing, and failures turned into words and exit codes. */
import { CommanderError } from 'commander'
import { commandAt, type SkeinCommand } from './command.js'
import { CliFailure, exitCodes, exitWords } from './exit.js'
import { didYouMean } from './nearest.js'
import { buildProgram } from './program.js'

export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough (`… | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.failed)
  })
  const code = await run(argv.slice(2))
  if (code !== exitCodes.ok) process.exit(code)
}

/** One command, in this process; its exit code. Standard output is its result, standard error what people are told. */
export async function run(words: readonly string[]): Promise<number> {
  const before = process.exitCode
  process.exitCode = exitCodes.ok
  try {
    const program = buildProgram()
    await program.parseAsync([...expanded(program, words)], { from: 'user' })
    return Number(process.exitCode ?? exitCodes.ok)
  } catch (error) {
    return report(error, words)
  } finally {
    process.exitCode = before
  }
}

/** A group that lists when nothing more is said; a word that is none of its commands is told as such, with the nearest one. */
function expanded(program: SkeinCommand, words: readonly string[]): readonly string[] {
  // `help nodes drain` is `nodes drain --help`.
  if (words[0] === 'help' && words.length > 1) return expanded(program, [...words.slice(1), '--help'])
  const { command, rest } = commandAt(program, words)
  const [word] = rest
  if (command.children.length === 0) return words
  if (word !== undefined && !word.startsWith('-') && word !== 'help') throw unknown(command, word)
  const asksForHelp = rest.some((each) => each === '--help' || each === '-h') || word === 'help'
  if (command.bare === undefined || asksForHelp) return words
  return [...words.slice(0, words.length - rest.length), command.bare, ...rest]
}

function unknown(command: SkeinCommand, word: string): CliFailure {
  const names = command.shown.map((each) => each.name())
  const aliases = command.shown.flatMap((each) => each.aliases())
  const hint = didYouMean(word, [...names, ...aliases]) ?? `there are: ${names.join(', ')}`
  const of = command.parent === null ? '' : ` of ${command.path}`
  return new CliFailure(exitCodes.usage, `unknown command '${word}'${of}`, { code: 'usage', hint })
}

function report(error: unknown, words: readonly string[]): number {
  if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok
  // A group that was given nothing has shown its help.
  if (error instanceof CommanderError && error.code === 'commander.help') return exitCodes.usage
  const failure = failureOf(error, words)
  const { message, hint, code, exitCode } = failure
  const end = words.indexOf('--')
  const isJson = (end === -1 ? words : words.slice(0, end)).includes('--json')
  if (isJson) {
    const named = code ?? codeOf(exitCode)
    // People read the code in front of the words.
    const detail = message.startsWith(`${named}: `) ? message.slice(named.length + 2) : message
    const body = { code: named, detail, exit_code: exitCode, ...(hint && { hint }) }
    process.stderr.write(`${JSON.stringify({ error: body })}\n`)
  } else process.stderr.write(`skein: ${message}\n${hint === undefined ? '' : `  ${hint}\n`}`)
  return exitCode
}

function codeOf(exitCode: number): string {
  return (exitWords[exitCode] ?? 'failed').replaceAll(' ', '_')
}

function failureOf(error: unknown, words: readonly string[]): CliFailure {
  if (error instanceof CliFailure) return error
  if (error instanceof CommanderError) {
    const [message = '', suggestion] = error.message.replace(/^error: /, '').split('\n')
    const { command } = commandAt(buildProgram(), words)
    const help = `${command.path} --help shows what it takes`
    const hint = suggestion === undefined ? help : `${suggestion.replace(/^\(D(.*)\)$/, 'd$1')} ${help}`
    return new CliFailure(exitCodes.usage, message, { code: 'usage', hint })
  }
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return new CliFailure(exitCodes.failed, trace, { code: 'internal' })
}
