// Makes a fresh clone ready: dependencies, build and, for the tests, Debian's Chromium, etcd and PostgreSQL. Says what it does; does only what is missing.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const purpose = process.argv[2] ?? 'start'

function newest(path) {
  if (!existsSync(path)) return 0
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), stat.mtimeMs)
}

// All that is said goes to standard error: standard output belongs to the command that follows.
function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['inherit', 2, 2] })
  if (status !== 0) {
    console.error(`setup: ${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`)
    process.exit(1)
  }
}

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`setup: Node 20.19 or later is needed, this is ${process.versions.node}`)
  process.exit(1)
}

const installed = join(root, 'node_modules', '.package-lock.json')
if (newest(installed) < newest(join(root, 'package-lock.json'))) {
  console.error('setup: installing dependencies')
  // Not `npm ci`: the lockfile names no packages of other platforms, which `ci` takes for a mistake.
  run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel', 'error'])
}

const built = join(root, 'dist', '.built')
const sources = ['src', 'dashboard', 'tsconfig.base.json', 'package.json'].map((name) =>
  newest(join(root, name)),
)
if (newest(built) < Math.max(...sources)) {
  console.error('setup: building')
  run('npm', ['run', '--silent', 'build'])
  execFileSync(process.execPath, ['-e', `require('node:fs').writeFileSync(${JSON.stringify(built)}, '')`])
}

if (purpose === 'test') enginesOfTheTests()

/** Debian packages that tests run for real; each test says that it is skipped where its own is missing. */
function enginesOfTheTests() {
  const missing = [
    { name: 'chromium', isThere: existsSync(process.env.CHROMIUM ?? '/usr/bin/chromium') },
    { name: 'etcd-server', isThere: existsSync(process.env.ETCD ?? '/usr/bin/etcd') },
    { name: 'postgresql', isThere: postgresIsThere() },
    { name: 'iproute2', isThere: isOnPath('ip') },
    { name: 'nftables', isThere: isOnPath('nft') },
    { name: 'prometheus', isThere: isOnPath(process.env.PROMTOOL ?? 'promtool') },
  ]
    .filter(({ isThere }) => !isThere)
    .map(({ name }) => name)
  if (missing.length === 0) return
  const canInstall = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
  if (!canInstall) {
    console.error(
      `setup: some tests need ${missing.join(', ')}: install them (Debian: apt-get install ${missing.join(' ')}) or set CHROMIUM, ETCD, POSTGRES_BIN, PROMTOOL to where they are; those tests are skipped`,
    )
    return
  }
  console.error(`setup: installing ${missing.join(', ')} for the tests`)
  const quiet = {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  }
  spawnSync('apt-get', ['update', '-qq'], quiet)
  const allowServices = forbidServices()
  spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], quiet)
  allowServices()
}

/** Only their programs are wanted: in Debian's way (policy-rc.d, 101: not allowed) what is being installed is kept from starting its service. Returns the way back. */
function forbidServices() {
  const policy = '/usr/sbin/policy-rc.d'
  if (existsSync(policy)) return () => {}
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  return () => rmSync(policy, { force: true })
}

function isOnPath(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined
}

function postgresIsThere() {
  if (process.env.POSTGRES_BIN !== undefined) return existsSync(process.env.POSTGRES_BIN)
  const versions = '/usr/lib/postgresql'
  return (
    existsSync(versions) &&
    readdirSync(versions).some((v) => existsSync(join(versions, v, 'bin', 'postgres')))
  )
}
