/** What opens the doors, made and taken away on this machine: tokens of the HTTP surface, the cluster's cookie. No node is asked. */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Command } from 'commander'
import {
  createCookieFile,
  makeCookie,
  type RotationStep,
  rotateCookieFile,
  rotationSteps,
} from '../../keys/cookie.js'
import { accessRoles } from '../../keys/roles.js'
import { createToken, isTokenName, loadTokens, removeToken, tokenNameAllowed } from '../../keys/tokens.js'
import { CliFailure, exitCodes } from '../exit.js'
import { inWords } from '../in-words.js'
import { print, printJson, printTable } from '../output.js'
import { addCertificates } from './certificates.js'

const defaultTokenFile = '.skein/tokens'

interface FileOptions {
  readonly file: string
  readonly json?: boolean
}

export function addKeys(program: Command): void {
  const token = program.command('token').description('tokens of the HTTP surface: create, ls, remove')
  withFile(
    token
      .command('create')
      .description('make a token; its secret is printed once, the file keeps a hash')
      .requiredOption('--role <role>', `what it may do: ${accessRoles.join(', ')}`)
      .requiredOption('--name <name>', `who it is for, as the audit log says: ${tokenNameAllowed}`),
  ).action(create)
  addCookie(program)
  addCertificates(program)
  withFile(token.command('ls').description('names and roles')).action(list)
  withFile(token.command('remove <name>').description('end a token and every log-in made with it')).action(
    remove,
  )
}

interface CookieOptions {
  readonly file?: string
  readonly json?: boolean
}

function addCookie(program: Command): void {
  const cookie = program
    .command('cookie')
    .description('make a cookie, the secret that makes nodes one cluster: printed, or put in a new file')
    .option('--file <file>', 'make this file, for --cookie-file; it must not exist')
    .option('--json', 'print it as JSON')
    .action(makeOne)
  cookie
    .command('rotate <step>')
    .description(
      'change the cookie of a running cluster: add, use, drop; each step must be in the file of every node before the next',
    )
    .action((step: string, _: unknown, command: Command) => rotate(step, command.optsWithGlobals()))
}

function makeOne(o: CookieOptions): void {
  if (o.file === undefined) {
    const cookie = makeCookie()
    if (o.json === true) printJson({ cookie })
    else print(cookie)
    return
  }
  const { file } = o
  if (!inWords(() => createCookieFile(file)))
    throw new CliFailure(exitCodes.conflict, `conflict: ${file} exists; a cookie is not written over`)
  if (o.json === true) printJson({ file })
  else print(`${file} has a new cookie; give all nodes of the cluster a copy with --cookie-file`)
}

const stepWords: Readonly<Record<RotationStep, string>> = {
  add: 'has a second cookie, accepted but not shown: bring this file to every node, then use it',
  use: 'shows the new cookie and accepts the old one: bring this file to every node, then drop the old one',
  drop: 'has the new cookie alone: bring this file to every node, and the old one is worth nothing',
}

function rotate(given: string, o: CookieOptions): void {
  const step = rotationSteps.find((each) => each === given)
  if (step === undefined) throw usage(`rotate: one of ${rotationSteps.join(', ')} expected, got "${given}"`)
  const { file } = o
  if (file === undefined) throw usage('rotate: --file is missing')
  inWords(() => rotateCookieFile(file, step))
  if (o.json === true) printJson({ file, step })
  else print(`${file} ${stepWords[step]}`)
}

function withFile(command: Command): Command {
  return command
    .option(
      '--file <file>',
      'the file that nodes are given with --token-file',
      process.env.SKEIN_TOKEN_FILE ?? defaultTokenFile,
    )
    .option('--json', 'print it as JSON')
}

function create(o: FileOptions & { readonly role: string; readonly name: string }): void {
  const role = accessRoles.find((each) => each === o.role)
  if (role === undefined) throw usage(`--role: one of ${accessRoles.join(', ')} expected, got "${o.role}"`)
  if (!isTokenName(o.name)) throw usage(`--name: ${tokenNameAllowed} expected, got "${o.name}"`)
  mkdirSync(dirname(o.file), { recursive: true, mode: 0o700 })
  const secret = inWords(() => createToken(o.file, role, o.name))
  if (o.json === true) {
    printJson({ name: o.name, role, token: secret, file: o.file })
    return
  }
  print(secret)
  process.stderr.write(
    `token "${o.name}" (${role}) is in ${o.file}; the line above is its secret and is not shown again\n`,
  )
}

function list(o: FileOptions): void {
  const tokens = inWords(() => loadTokens(o.file)).map(({ name, role }) => ({ name, role }))
  if (o.json === true) printJson({ tokens, count: tokens.length })
  else
    printTable(
      ['NAME', 'ROLE'],
      tokens.map(({ name, role }) => [name, role]),
    )
}

function remove(name: string, o: FileOptions): void {
  inWords(() => removeToken(o.file, name))
  if (o.json === true) printJson({ name, removed: true, file: o.file })
  else print(`token "${name}" is removed; nodes that follow ${o.file} refuse it within two seconds`)
}

function usage(detail: string): CliFailure {
  return new CliFailure(exitCodes.usage, detail)
}
