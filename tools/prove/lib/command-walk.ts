/**
 * Every command of the tree, each in a form that can be given: what it ends with on a live cluster and where no node is, and what it prints. The
 * steps stand in an order in which they make sense; one may learn what a later one needs.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandsOf, type SkeinCommand } from '../../../src/cli/command.js'

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A command of `skein` as it ended. */
export type Run = (args: readonly string[]) => Promise<Ran>

export interface Places {
  /** HTTP of two nodes of one cluster, node-1 and node-2, with commands-module.mjs loaded. */
  readonly addr: string
  readonly otherAddr: string
  /** For files; empty. */
  readonly dir: string
}

interface Step {
  /** As in the tree, without `skein`. */
  readonly path: string
  readonly args: readonly string[]
  readonly code: readonly number[]
  readonly prints: 'json' | 'lines' | 'nothing'
  /** Asked again until it is so; what is asked for comes about by itself. */
  readonly until?: (stdout: string) => boolean
  readonly then?: (stdout: string) => void
  /** Of a failure: what it must say. */
  readonly says?: RegExp
}

export interface WalkNotes {
  step(what: string, problem: string | undefined): void
}

const settleMsMax = 20_000

/** Commands that go on by themselves; they are tried as processes. */
export const endless = ['start', 'up', 'events tail', 'rooms listen']

const ok = [0]

export function steps({ addr, otherAddr, dir }: Places): readonly (Step | (() => Step))[] {
  const lines = join(dir, 'lines.txt')
  writeFileSync(lines, 'k1 a\nk2 b\nk1 c\n')
  const tokens = join(dir, 'tokens')
  const cookie = join(dir, 'cookie')
  const certs = join(dir, 'certs')
  let elsewhere = ''
  let run = ''
  let operation = ''
  let session = ''
  const sent = ['--stream', 'walk', '--key', 'alice']
  const own = ['--port', '0', '--peer-port', '0', '--data-dir', join(dir, 'node')]
  const process_ = ['--', 'sh', '-c', 'trap : HUP; echo begins; while read l; do echo got $l; done']
  const asks = (path: string, args: readonly string[] = [], more: Partial<Step> = {}): Step => ({
    path,
    args: [...args, '--addr', addr, '--json'],
    code: ok,
    prints: 'json',
    ...more,
  })
  const missing = (path: string, args: readonly string[], says = /not_found/): Step =>
    asks(path, args, { code: [4], prints: 'nothing', says })
  const local = (path: string, args: readonly string[], code: readonly number[] = ok): Step => ({
    path,
    args: [...args, '--json', '--addr', addr, '--token', 'none'],
    code,
    prints: code.includes(0) || path === 'doctor' ? 'json' : 'nothing',
  })
  const contains = (text: string) => (stdout: string) => stdout.includes(text)
  return [
    asks('status', [], { code: [0, 7] }),
    asks('nodes ls'),
    asks('nodes show', ['node-2']),
    missing('nodes show', ['nod-2'], /did you mean node-2/),
    asks('nodes why', ['node-2']),
    asks('leader show'),
    asks('leader promote'),
    asks('leader step-down', [], { code: [0, 5], prints: 'json' }),
    asks('shards'),
    asks('history', ['--limit', '5']),
    asks('peers'),
    asks('reachability'),
    asks('clock'),
    asks('route', ['alice']),
    asks('audit'),
    asks('whoami'),
    asks('version'),
    asks('top'),
    asks('events send', ['{"n":1}', ...sent, '--id', 'one']),
    asks('events send', ['{"n":2}', ...sent, '--id', 'one'], { code: [5], says: /event_conflict/ }),
    asks('events publish', [lines, '--stream', 'walk', '--key-regex', 'k\\d']),
    asks('events get', ['--stream', 'walk', '--key', 'alice'], { prints: 'lines' }),
    asks('agents create', ['alice', '--kind', 'counter']),
    {
      ...asks('agents create'),
      args: ['tick', '--addr', addr, '--json', '--restart', 'always', ...process_],
    },
    asks('agents create', ['alice', '--kind', 'counter'], { code: [5], prints: 'nothing' }),
    asks('agents ls', [], { until: (stdout) => stdout.split('"running"').length > 2 }),
    asks('agents show', ['alice'], {
      then: (stdout) => {
        const { node_id } = JSON.parse(stdout) as { node_id: string }
        elsewhere = node_id === 'node-1' ? 'node-2' : 'node-1'
      },
    }),
    missing('agents show', ['alicia'], /did you mean alice/),
    asks('agents why', ['alice']),
    asks('agents call', ['alice', 'add', '2'], { until: contains('2') }),
    asks('agents input', ['tick', 'hello']),
    asks('agents signal', ['tick', 'SIGHUP']),
    asks('agents logs', ['tick'], { prints: 'lines', until: contains('got hello') }),
    asks('agents migrate', ['alice', '--dry-run']),
    missing('agents migrate', ['alice', '--to', 'node2'], /did you mean node-2/),
    () => asks('agents migrate', ['alice', '--to', elsewhere]),
    asks('agents pause', ['alice']),
    asks('agents resume', ['alice']),
    asks('agents restart', ['alice'], { until: contains('"alice"') }),
    asks('balance'),
    asks('balance', ['least-agents', '--dry-run']),
    asks('balance', ['lest_agents'], { code: [2], prints: 'nothing', says: /did you mean least_agents/ }),
    asks('rebalance', ['--dry-run']),
    asks('rebalance'),
    asks('agents stop', ['tick']),
    asks('agents stop', ['alice']),
    asks('services ls', [], { until: contains('pricing') }),
    asks('services show', ['pricing']),
    missing('services show', ['prising'], /did you mean pricing/),
    asks('services call', ['pricing', 'quote', '{"sku":"a1"}', '--version', '1']),
    asks('names ls', [], { until: contains('clerk') }),
    asks('names show', ['clerk']),
    asks('names call', ['clerk', 'greet', 'you']),
    asks('spawn', ['square', '7'], { until: contains('49') }),
    asks('spawn', ['sleep', '60000', '--detach'], {
      then: (stdout) => {
        run = String((JSON.parse(stdout) as { id: string }).id)
      },
    }),
    asks('processors ls'),
    () => asks('processors show', [run]),
    () => asks('processors kill', [run, '--reason', 'enough']),
    asks('processors show', ['nothing'], { code: [2], prints: 'nothing' }),
    asks('rooms send', ['log-lobby', 'hello', '--user', 'walk']),
    asks('rooms ls', [], { until: contains('log-lobby') }),
    asks('rooms show', ['log-lobby']),
    asks('rooms history', ['log-lobby'], { prints: 'lines', until: contains('hello') }),
    asks('sessions ls', ['--user', 'walker'], {
      until: contains('walker'),
      then: (stdout) => {
        session = String((JSON.parse(stdout) as { sessions: { id: string }[] }).sessions[0]?.id)
      },
    }),
    () => asks('sessions show', [session]),
    asks('config set', ['walk', '{"a":1}', '--note', 'first']),
    asks('config set', ['walk', '{"a":2}', '--if-version', '99'], { code: [5], prints: 'nothing' }),
    asks('config set', ['walk', '{"a":2}']),
    asks('config get'),
    asks('config get', ['walk'], { until: contains('"a": 2') }),
    missing('config get', ['wlak'], /did you mean walk/),
    asks('config history', ['walk']),
    asks('config rollback', ['walk', '1']),
    asks('maps set', ['presence', 'alice', 'online']),
    asks('maps get', ['presence', 'alice']),
    missing('maps get', ['presence', 'alise'], /did you mean alice/),
    asks('maps ls'),
    asks('maps ls', ['presence']),
    asks('maps rm', ['presence', 'alice']),
    asks('nodes cordon', ['node-2', '--dry-run']),
    asks('nodes cordon', ['node-2']),
    asks('nodes uncordon', ['node-2']),
    asks('nodes drain', ['node-2', '--dry-run']),
    asks('nodes drain', ['node-2', '--detach'], {
      then: (stdout) => {
        operation = String((JSON.parse(stdout) as { id: string }).id)
      },
    }),
    asks('operations ls'),
    () => asks('operations show', [operation]),
    () => asks('operations follow', [operation]),
    asks('nodes drain', ['node-2'], { until: contains('"done"') }),
    () => asks('operations cancel', [operation], { code: [5], prints: 'nothing' }),
    missing('operations show', ['nothing']),
    asks('nodes uncordon', ['node-2']),
    missing('nodes remove', ['node-9']),
    { ...asks('leader step-down'), args: ['--addr', otherAddr, '--json'], code: [0, 5], prints: 'json' },
    local('doctor', own, [0, 1]),
    local('start', [...own, '--print-config']),
    local('up', ['--nodes', '0'], [2]),
    local('carry', own, [2]),
    local('token create', ['--file', tokens, '--role', 'viewer', '--name', 'me']),
    local('token create', ['--file', tokens, '--role', 'viewer', '--name', 'me'], [5]),
    local('token ls', ['--file', tokens]),
    local('token remove', ['me', '--file', tokens]),
    local('token remove', ['me', '--file', tokens], [4]),
    local('cookie', []),
    local('cookie', ['--file', cookie]),
    local('cookie', ['--file', cookie], [5]),
    local('cookie rotate', ['add', '--file', cookie]),
    local('cert ca', ['--dir', certs]),
    local('cert ca', ['--dir', certs], [5]),
    local('cert node', ['node-1', '--dir', certs]),
    local('cert client', ['ops', '--role', 'admin', '--dir', certs]),
    local('completion', ['bash']),
    local('completion', ['tcsh'], [2]),
    local('complete', ['--line', 'skein nodes dr']),
  ]
}

/** Each step once, in order; what is not as it should be is told. The paths that were walked. */
export async function walk(run: Run, places: Places, notes: WalkNotes): Promise<ReadonlySet<string>> {
  const walked = new Set<string>()
  for (const each of steps(places)) {
    const step = typeof each === 'function' ? each() : each
    walked.add(step.path)
    const untilMs = Date.now() + settleMsMax
    for (;;) {
      const ran = await run([...step.path.split(' '), ...step.args])
      const problem = problemOf(step, ran)
      if (problem !== undefined && step.until !== undefined && Date.now() < untilMs) {
        await new Promise((done) => setTimeout(done, 200))
        continue
      }
      if (problem === undefined) step.then?.(ran.stdout)
      notes.step(`skein ${step.path} ${step.args.join(' ')}`, problem)
      break
    }
  }
  return walked
}

function problemOf({ code, prints, says, until }: Step, ran: Ran): string | undefined {
  const said = ran.stderr.slice(0, 300)
  if (!code.includes(ran.code ?? -1)) return `ended with ${ran.code}, not ${code.join(' or ')}: ${said}`
  if (ran.code !== 0 && ran.code !== 7) {
    const trouble = failureTrouble(ran)
    if (trouble !== undefined) return trouble
    if (says !== undefined && !says.test(ran.stderr)) return `does not say ${says}: ${said}`
  }
  const trouble = printTrouble(prints, ran)
  if (trouble !== undefined) return `${trouble}: ${ran.stdout.slice(0, 300)}`
  return until === undefined || until(ran.stdout) ? undefined : `is not so yet: ${ran.stdout.slice(0, 300)}`
}

function printTrouble(prints: Step['prints'], { code, stdout }: Ran): string | undefined {
  if (prints === 'nothing') return stdout === '' ? undefined : 'prints something all the same'
  // What failed before there was a result has none to print.
  if (stdout === '' && code !== 0) return undefined
  const documents = prints === 'lines' ? stdout.trim().split('\n') : [stdout]
  return documents.every(isJson) ? undefined : 'prints what is no JSON'
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** With `--json` a failure is one line of JSON on standard error, with the code that the command ends with. */
export function failureTrouble({ code, stderr }: Ran): string | undefined {
  const line = stderr.trim().split('\n').at(-1) ?? ''
  try {
    const { error } = JSON.parse(line) as { error: { code: string; detail: string; exit_code: number } }
    if (error.exit_code !== code) return `says ${error.exit_code} and ends with ${code}`
    return error.code === '' || error.detail === '' ? `says nothing: ${line}` : undefined
  } catch {
    return `says what is no JSON: ${stderr.slice(0, 300)}`
  }
}

/** Arguments with which each command that asks a node can be given; for where there is none. */
export function askingCommands(program: SkeinCommand, dir: string): readonly (readonly string[])[] {
  const lines = join(dir, 'lines.txt')
  writeFileSync(lines, 'k1 a\n')
  return commandsOf(program)
    .filter(({ reach }) => reach === 'node')
    .map((command) => {
      const args = command.registeredArguments.filter(({ required }) => required).map(() => '1')
      const options = command.options
        .filter(({ mandatory }) => mandatory)
        .flatMap(({ long }) => [long as string, 'k'])
      const path = command.path.split(' ').slice(1)
      if (command.path === 'skein events publish') return [...path, lines, ...options, '--patience', '1']
      if (command.path === 'skein config set') return [...path, ...args, 'value']
      if (command.path === 'skein maps set') return [...path, ...args, 'value']
      return [...path, ...args, ...options]
    })
}
