/** `skein cert`: an authority for a cluster, and certificates that it signs for nodes and for clients. Files in one directory; nothing is written over. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Option } from 'commander'
import { clientUri, nodeUri } from '../../core/kernel/certificate-name.js'
import { accessRoles } from '../../keys/roles.js'
import { createSecretFile } from '../../keys/secret-file.js'
import { onThisMachine, type SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { failureInWords } from '../in-words.js'
import { print, printJson } from '../output.js'
import { whole } from '../remote.js'

interface CertOptions {
  readonly dir: string
  readonly clusterName: string
  readonly days: string
  readonly json?: boolean
}

const idPattern = /^[A-Za-z0-9._-]{1,64}$/
const daysMax = 36_500

export function addCertificates(program: SkeinCommand): void {
  const cert = program.command('cert').description('certificates instead of a cookie: ca, node, client')
  common(
    cert
      .command('ca')
      .description('an authority: keep its key away from the nodes')
      .example(
        'skein cert ca --cluster-name prod --dir certs',
        'ca.crt is for every node, ca.key for nobody',
      ),
    '3650',
  ).action((o: CertOptions) => inFiles(makeCa(o)))
  common(
    cert
      .command('node <id>')
      .description('a certificate that makes its holder this node, for --tls-cert and --https-cert')
      .option('--host <name...>', 'names and addresses under which its HTTPS is reached', [])
      .example('skein cert node node-1 --cluster-name prod --dir certs --host n1.example.org', 'for a year'),
    '365',
  ).action((id: string, o: CertOptions & { readonly host: readonly string[] }) => inFiles(makeNode(id, o)))
  common(
    cert
      .command('client <name>')
      .description('a certificate to show at HTTPS instead of a token')
      .requiredOption('--role <role>', `what it may do: ${accessRoles.join(', ')}`)
      .naming('--role', 'role')
      .example('skein cert client ops --role admin --cluster-name prod --dir certs', 'for ninety days'),
    '90',
  ).action((name: string, o: CertOptions & { readonly role: string }) => inFiles(makeClient(name, o)))
}

function common(command: SkeinCommand, days: string): SkeinCommand {
  command
    .option('--dir <directory>', 'where the files are: ca.crt, ca.key, …', '.skein/certs')
    .addOption(
      new Option('--cluster-name <name>', 'the cluster, as nodes are told')
        .default('skein')
        .env('SKEIN_CLUSTER_NAME'),
    )
    .option('--days <n>', 'valid for so long; shorter is safer, since nothing revokes one earlier', days)
    .exits(exitCodes.conflict)
  return onThisMachine(command)
}

interface Made {
  readonly files: readonly string[]
  readonly words: string
  readonly o: CertOptions
}

async function inFiles(work: Promise<Made>): Promise<void> {
  const { files, words, o } = await work.catch((error: unknown) => {
    throw failureInWords(error)
  })
  if (o.json === true) printJson({ files })
  else print(`${files.join(', ')}: ${words}`)
}

async function makeCa(o: CertOptions): Promise<Made> {
  const { makeAuthority } = await import('../../keys/make-certificates.js')
  const made = await makeAuthority(checkedName('--cluster-name', o.clusterName), daysOf(o))
  return { o, files: write(o.dir, 'ca', made), words: 'give ca.crt to every node as --tls-ca' }
}

async function makeNode(id: string, o: CertOptions & { readonly host: readonly string[] }): Promise<Made> {
  const uri = nodeUri(checkedName('--cluster-name', o.clusterName), checkedName('node id', id))
  const hosts = o.host.length > 0 ? o.host : ['localhost', '127.0.0.1', '::1']
  const files = await signed(o, id, { name: id, uri, hosts, isServer: true })
  return { o, files, words: `for the node started with --node-id ${id}` }
}

async function makeClient(name: string, o: CertOptions & { readonly role: string }): Promise<Made> {
  if (!accessRoles.some((role) => role === o.role))
    throw new CliFailure(
      exitCodes.usage,
      `--role: one of ${accessRoles.join(', ')} expected, got "${o.role}"`,
    )
  const uri = clientUri(checkedName('--cluster-name', o.clusterName), o.role, checkedName('name', name))
  const files = await signed(o, `client-${name}`, { name, uri, hosts: [], isServer: false })
  return { o, files, words: `for "${name}" (${o.role}), as --tls-cert and --tls-key of the other commands` }
}

interface Leaf {
  readonly name: string
  readonly uri: string
  readonly hosts: readonly string[]
  readonly isServer: boolean
}

async function signed(o: CertOptions, file: string, leaf: Leaf): Promise<readonly string[]> {
  const { makeLeaf } = await import('../../keys/make-certificates.js')
  const read = (name: string) => readFileSync(join(o.dir, name), 'utf8')
  const authority = { cert: read('ca.crt'), key: read('ca.key') }
  return write(o.dir, file, await makeLeaf(authority, { ...leaf, days: daysOf(o) }))
}

/** The key first: a certificate without its key is of no use, and says so. */
function write(dir: string, name: string, made: { readonly cert: string; readonly key: string }): string[] {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const [cert, key] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)]
  try {
    createSecretFile(key, made.key)
    writeFileSync(cert, made.cert, { flag: 'wx', mode: 0o644 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new CliFailure(
      exitCodes.conflict,
      `conflict: ${name}.crt or ${name}.key is in ${dir} already; move it away to make another`,
    )
  }
  return [cert, key]
}

function daysOf({ days }: CertOptions): number {
  return whole('--days', days, 1, daysMax)
}

function checkedName(what: string, text: string): string {
  if (idPattern.test(text)) return text
  throw new CliFailure(exitCodes.usage, `${what}: 1 to 64 of A-Z a-z 0-9 . _ - expected, got "${text}"`)
}
