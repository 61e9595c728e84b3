/** The tree of commands as it is declared: words, examples that parse, help, the options that all have, and what the shell is told of it. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { commandAt, commandsOf, type SkeinCommand } from '../../src/cli/command.js'
import { complete } from '../../src/cli/complete.js'
import { didYouMean, nearest } from '../../src/cli/nearest.js'
import { buildProgram } from '../../src/cli/program.js'
import { shellWords } from '../../src/cli/shell-words.js'

let program: SkeinCommand
let all: readonly SkeinCommand[]
beforeAll(() => {
  program = buildProgram()
  all = commandsOf(program)
})

/** DESIGN section 7: what there must be, by these names. */
const contract = [
  ...['start', 'up', 'status', 'shards', 'spawn', 'balance', 'history', 'top', 'doctor'],
  ...['ls', 'show', 'why', 'drain', 'cordon', 'uncordon', 'remove'].map((verb) => `nodes ${verb}`),
  ...['show', 'promote', 'step-down'].map((verb) => `leader ${verb}`),
  ...['ls', 'show', 'create', 'stop', 'migrate', 'logs'].map((verb) => `agents ${verb}`),
  ...['publish', 'tail', 'get'].map((verb) => `events ${verb}`),
  ...['ls', 'send', 'listen'].map((verb) => `rooms ${verb}`),
  ...['get', 'set', 'history', 'rollback'].map((verb) => `config ${verb}`),
]

/** As typed in an example: what is before and behind `skein …` in a pipe is left out. */
function wordsOf(line: string): readonly string[] {
  const { words } = shellWords(line)
  const from = words.findIndex((word) => /^(<\()?skein$/.test(word))
  const rest = words.slice(from + 1)
  const to = rest.findIndex((word) => /^[|<>]/.test(word))
  return (to === -1 ? rest : rest.slice(0, to)).map((word) =>
    line.includes('<(skein') ? word.replace(/\)$/, '') : word,
  )
}

/** Which command it is, and why it cannot be given so. Nothing is carried out. */
async function parse(line: string): Promise<{ reached: string | undefined; trouble: string | undefined }> {
  const fresh = buildProgram()
  let reached: string | undefined
  for (const each of commandsOf(fresh))
    each.action(() => {
      reached = each.path
    })
  const words = wordsOf(line)
  const { command } = commandAt(fresh, words)
  const bare = command.acts || command.bare === undefined ? words : [...words, command.bare]
  let trouble: string | undefined
  await fresh.parseAsync([...bare], { from: 'user' }).catch((error: Error) => {
    trouble = error.message
  })
  return { reached, trouble }
}

/** In blocks of shell, their comments and what stands for more left out. */
function commandLines(markdown: string): readonly string[] {
  const blocks = markdown.match(/```(sh|bash|console)\n[\s\S]*?```/g) ?? []
  return blocks
    .flatMap((block) => block.replaceAll(/\\\n\s*/g, '').split('\n'))
    .flatMap((line) => line.split(' && '))
    .map((line) => line.replace(/\s+#.*$/, '').replaceAll(/(^|\s)…/g, ''))
    .filter((line) => /^(\$ )?skein /.test(line))
}

describe('the tree', () => {
  test('has all commands of the contract; services and names list when nothing more is said', () => {
    const paths = all.map((command) => command.path.replace(/^skein /, ''))
    expect(contract.filter((path) => !paths.includes(path))).toEqual([])
    for (const name of ['services', 'names']) expect(commandAt(program, [name]).command.bare).toBe('ls')
  })

  test('every command says what it does, takes --json, --addr and --token, and has an example', () => {
    const lacks = all.flatMap((command) => {
      const flags = command.options.map(({ long }) => long)
      const missing = ['--json', '--addr', '--token'].filter((flag) => !flags.includes(flag))
      if (command.description() === '') missing.push('a description')
      if (command.examples.length === 0) missing.push('an example')
      if (command.options.some(({ description }) => description === '')) missing.push('words for an option')
      return missing.map((what) => `${command.path}: ${what}`)
    })
    expect(lacks).toEqual([])
  })

  test('what lists or shows something can be watched', () => {
    const verbs = /^skein ((status|shards|peers|history|top)|\w+ (ls|show|why|get|history))$/
    const others = ['skein token ls', 'skein events get', 'skein rooms history']
    const lacks = all.filter(
      ({ path, options }) =>
        verbs.test(path) && !others.includes(path) && !options.some(({ long }) => long === '--watch'),
    )
    expect(lacks.map(({ path }) => path)).toEqual([])
  })

  test('every example is a command that parses', async () => {
    const wrong: string[] = []
    for (const command of all)
      for (const { line } of command.examples) {
        const { reached, trouble } = await parse(line)
        if (reached !== command.path || trouble !== undefined) wrong.push(`${line}: ${trouble ?? reached}`)
      }
    expect(wrong).toEqual([])
  })

  test('so is every command line in the documentation', async () => {
    const wrong: string[] = []
    let count = 0
    const root = resolve(import.meta.dirname, '../..')
    const files = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)]
    for (const file of files.filter((name) => name.endsWith('.md')))
      for (const line of commandLines(readFileSync(join(root, file), 'utf8'))) {
        count++
        const { trouble } = await parse(line)
        if (trouble !== undefined) wrong.push(`${file}: ${line}: ${trouble}`)
      }
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(100)
  })

  test('help has usage, options, examples and exit codes', () => {
    for (const command of all) {
      let text = ''
      command.configureOutput({
        writeOut: (words) => {
          text += words
        },
      })
      command.outputHelp()
      expect(text).toContain(`Usage: ${command.path}`)
      expect(text).toMatch(/Output:[\s\S]*--json[\s\S]*\n\nExamples:\n[\s\S]*Exit codes: 0 ok, 1 failed/)
    }
  })
})

describe('the nearest name', () => {
  test('is found over letters added, left out, exchanged and swapped, and only when it is near', () => {
    expect(nearest('nod-1', ['node-1', 'node-2', 'other'])[0]).toBe('node-1')
    expect(nearest('staus', ['status', 'start', 'shards'])[0]).toBe('status')
    expect(nearest('ab', ['xyz', 'other'])).toEqual([])
    expect(nearest('Alice', ['alice'])).toEqual(['alice'])
    expect(didYouMean('spraed', ['spread', 'random'])).toBe('did you mean spread?')
    expect(didYouMean('zzz', ['spread'])).toBeUndefined()
  })
})

describe('completion', () => {
  const of = async (...words: string[]) => {
    const found = await complete(program, words)
    return found === 'files' ? found : found.map(({ word }) => word)
  }

  test('knows commands, options, fixed names and files, and never offers what is there already', async () => {
    expect(await of('no')).toEqual(['nodes'])
    expect(await of('nodes', 'd')).toEqual(['drain'])
    expect(await of('nodes', 'drain', 'node-1', '--d')).toEqual(['--deadline', '--dry-run', '--detach'])
    expect(await of('nodes', 'drain', '--detach', '--d')).toEqual(['--deadline', '--dry-run'])
    expect(await of('balance', 'least')).toEqual(['least_loaded', 'least_agents'])
    expect(await of('start', '--preset', '')).toEqual(['local', 'lan', 'wan'])
    expect(await of('token', 'create', '--role', 'a')).toEqual(['admin'])
    expect(await of('status', '--tls-ca', '')).toBe('files')
    expect(await of('events', 'publish', '')).toBe('files')
    expect(await of('complete')).not.toContain('complete')
  })

  test('takes a line apart as a shell does', () => {
    expect(shellWords(`a 'b c' "d \\" e" f\\ g`)).toEqual({
      words: ['a', 'b c', 'd " e', 'f g'],
      isOpen: true,
    })
    expect(shellWords('skein nodes ')).toEqual({ words: ['skein', 'nodes'], isOpen: false })
  })
})
