/** What opens the doors, made and taken away on this machine: tokens of the HTTP surface, the cluster's cookie. No node is asked. */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { Option } from 'commander'
import {
  createCookieFile,
  makeCookie,
  type RotationStep,
  rotateCookieFile,
  rotationSteps,
} from '../../keys/cookie.js'
import { accessRoles } from '../../keys/roles.js'
import { createToken, isTokenName, loadTokens, removeToken, tokenNameAllowed } from '../../keys/tokens.js'
import { onThisMachine, type SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { inWords } from '../in-words.js'
import { print, printJson, printTable, tell } from '../output.js'
import { addCertificates } from './certificates.js'

const defaultTokenFile = '.skein/tokens'

interface FileOptions {
  readonly file: string
  readonly json?: boolean
}

export function addKeys(program: SkeinCommand): void {
  const token = program
    .command('token')
    .description('tokens of the HTTP surface: create, ls, remove')
    .lists('ls')
  withFile(
    token
      .command('create')
      .description('make a token; its secret is printed once, the file keeps a hash')
      .requiredOption('--role <role>', `what it may do: ${accessRoles.join(', ')}`)
      .naming('--role', 'role')
      .requiredOption('--name <name>', `who it is for, as the audit log says: ${tokenNameAllowed}`)
      .example('skein token create --role viewer --name dashboard --file /etc/skein/tokens', 'may look')
      .example('skein token create --role admin --name ops > ops.token', 'the secret alone goes to the file')
      .exits(exitCodes.conflict),
  ).action(create)
  withFile(token.command('ls').description('names and roles').example('skein token ls', 'no secrets')).action(
    list,
  )
  withFile(
    token
      .command('remove <name>')
      .description('end a token and every log-in made with it')
      .example('skein token remove dashboard', 'refused by every node within two seconds')
      .exits(exitCodes.notFound),
  ).action(remove)
  addCookie(program)
  addCertificates(program)
}

interface CookieOptions {
  readonly file?: string
  readonly json?: boolean
}

function addCookie(program: SkeinCommand): void {
  const cookie = onThisMachine(
    program
      .command('cookie')
      .description('make a cookie, the secret that makes nodes one cluster: printed, or put in a new file')
      .option('--file <file>', 'make this file, for --cookie-file; it must not exist')
      .example('skein cookie --file cookie', 'readable by its owner only; copy it to every node')
      .exits(exitCodes.conflict),
  ).action(makeOne)
  onThisMachine(
    cookie
      .command('rotate <step>')
      .description(
        'change the cookie of a running cluster: add, use, drop; each step must be in the file of every node before the next',
      )
      .names('rotation')
      .option('--file <file>', 'the file to change')
      .example('skein cookie rotate add --file cookie', 'then bring the file to every node')
      .exits(exitCodes.notFound, exitCodes.conflict),
  ).action(rotate)
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

function withFile(command: SkeinCommand): SkeinCommand {
  command.addOption(
    new Option('--file <file>', 'the file that nodes are given with --token-file')
      .default(defaultTokenFile)
      .env('SKEIN_TOKEN_FILE'),
  )
  return onThisMachine(command)
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
  tell(`token "${o.name}" (${role}) is in ${o.file}; the line above is its secret and is not shown again`)
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
