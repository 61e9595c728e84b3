/** `skein carry`: what a stopped cluster must not lose, from its store and journal to others. */
import { type ErrorCode, isSkeinError } from '../../core/kernel/error.js'
import type { CarryPhase, CarryReport } from '../../runtime/carry/carry.js'
import { onThisMachine, type SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { addFlags } from '../flags.js'
import { nodeConfigOf, type StartOptions } from '../node-config.js'
import { print, printJson } from '../output.js'
import { Progress } from '../progress.js'

interface CarryOptions extends StartOptions {
  readonly toStore?: string
  readonly toJournal?: string
  readonly dryRun?: boolean
  readonly reopen?: boolean
  readonly lend?: boolean
}

const storeForm = /^((sqlite:|etcds?:\/\/).+|etcd\+managed:.*)$/s
const journalForm = /^(sqlite:|postgres(ql)?:\/\/).+$/s

export function addCarry(program: SkeinCommand): void {
  const command = program
    .command('carry')
    .description(
      'carry the state of a stopped cluster to another store and journal; where from is said by the options of start (docs/OPERATIONS.md)',
    )
    .details(
      'A bar shows each phase on a terminal. Ctrl-C stops it where it is; the same command goes on from there. Everything is compared at the end.',
    )
    .option('--to-store <url>', 'store to carry to, empty: sqlite:PATH, etcd://…, etcd+managed:')
    .option(
      '--to-journal <url>',
      'journal to carry to, empty: sqlite:DIRECTORY, postgres://…; the same one when absent',
    )
    .option('--dry-run', 'look whether it can be done, and count; changes nothing')
    .option('--reopen', 'take the mark of a carry off the store, so that nodes may start on it again')
    .option(
      '--lend',
      'of etcd+managed: run the member in this data directory until Ctrl-C, for a carry that is made elsewhere',
    )
    .exits(exitCodes.unreachable, exitCodes.notFound, exitCodes.conflict, exitCodes.timedOut)
    .example(
      'skein carry --data-dir .skein/node-1 --to-store etcd://10.0.0.1:2379 --to-journal postgres://skein@10.0.0.9/skein --dry-run',
      'whether it can be done, and how much it is',
    )
    .example(
      'skein carry --data-dir .skein/node-1 --to-store etcd://10.0.0.1:2379 --to-journal postgres://skein@10.0.0.9/skein',
      'do it',
    )
    .example('skein carry --data-dir .skein/node-1 --reopen', 'back to the old ones')
  addFlags(command)
  command.option('--config <file>', 'JSON file with any of the options of start by their keys')
  onThisMachine(command, 'print the result as JSON').action(run)
}

async function run(given: CarryOptions): Promise<void> {
  const config = nodeConfigOf(given)
  // Loaded when it is wanted: most commands need nothing of a node.
  const { carryBetween, lendStore, reopenSource } = await import('../../runtime/carry/carry-between.js')
  if (given.reopen === true) {
    if (given.toStore !== undefined || given.toJournal !== undefined || given.dryRun === true)
      throw usage('--reopen goes with none of --to-store, --to-journal, --dry-run')
    const mark = await reopenSource(config, tell).catch(fail)
    if (given.json === true) printJson({ reopened: config.store, id: mark.id })
    else print(`nodes may use ${config.store} again; what happened at ${mark.store} is not here`)
    return
  }
  const stop = new AbortController()
  if (given.lend === true) {
    if (given.toStore !== undefined || given.toJournal !== undefined || given.dryRun === true)
      throw usage('--lend goes with none of --to-store, --to-journal, --dry-run')
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
    await lendStore(config, stop.signal, () => print('lent; end it when the carry is done'), tell).catch(fail)
    return
  }
  const to = placeOf(given, config.journal)
  const onSignal = (): void =>
    stop.abort(new CliFailure(exitCodes.failed, 'stopped: run it again, it goes on from here'))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal)
  const progress = new CarryProgress(given.json === true)
  const report = await carryBetween(
    config,
    to,
    { isDryRun: given.dryRun === true, signal: stop.signal, onProgress: (...step) => progress.show(...step) },
    tell,
  ).catch(fail)
  progress.end()
  if (given.json === true) printJson({ ...report, seconds: progress.seconds })
  else print(inWords(report, progress.seconds, to))
}

function placeOf({ toStore, toJournal }: CarryOptions, journal: string): { store: string; journal: string } {
  if (toStore === undefined)
    throw usage('--to-store says where to: sqlite:PATH, etcd://HOST:PORT,… or etcd+managed:')
  if (!storeForm.test(toStore))
    throw usage('--to-store: sqlite:PATH, etcd://HOST:PORT,… or etcd+managed: expected')
  if (toJournal !== undefined && !journalForm.test(toJournal))
    throw usage('--to-journal: sqlite:DIRECTORY or postgres://USER@HOST:PORT,…/DATABASE expected')
  return { store: toStore, journal: toJournal ?? journal }
}

function usage(message: string): CliFailure {
  return new CliFailure(exitCodes.usage, message)
}

const codes: Partial<Record<ErrorCode, number>> = {
  bad_config: exitCodes.usage,
  conflict: exitCodes.conflict,
  store_mismatch: exitCodes.conflict,
  not_found: exitCodes.notFound,
  timeout: exitCodes.timedOut,
  unavailable: exitCodes.unreachable,
}

function fail(error: unknown): never {
  if (!isSkeinError(error)) throw error
  throw new CliFailure(codes[error.code] ?? exitCodes.failed, `${error.code}: ${error.message}`)
}

/** What a store that runs here says of itself. */
function tell(level: string, event: string, fields: object = {}): void {
  if (level === 'warn' || level === 'error')
    process.stderr.write(`${level}: ${event} ${JSON.stringify(fields)}\n`)
}

const phases: Readonly<Record<CarryPhase, string>> = {
  events: 'events carried',
  positions: 'positions of consumers carried',
  checkpoints: 'checkpoints of agents carried',
  keys: 'keys of the store carried',
  proof: 'events compared',
}

/** A bar per phase. */
class CarryProgress {
  private readonly isQuiet: boolean
  private readonly startedMs = Date.now()
  private phase: CarryPhase | undefined
  private bar: Progress
  private last: readonly [number, number] = [0, 0]

  constructor(isQuiet: boolean) {
    this.isQuiet = isQuiet
    this.bar = new Progress(0, { isQuiet })
  }

  get seconds(): number {
    return Math.round((Date.now() - this.startedMs) / 100) / 10
  }

  show(phase: CarryPhase, done: number, total: number): void {
    if (phase !== this.phase) {
      this.end()
      this.phase = phase
      this.bar = new Progress(total, { isQuiet: this.isQuiet })
    }
    this.last = [done, total]
    this.bar.show(done, this.line)
  }

  end(): void {
    if (this.phase !== undefined) this.bar.show(this.last[0], this.line, true)
  }

  private get line(): string {
    const [done, total] = this.last
    return `${done} of at most ${Math.max(done, total)} ${phases[this.phase ?? 'events']}`
  }
}

function inWords(report: CarryReport, seconds: number, to: { store: string; journal: string }): string {
  const { outcome, events, copied, positions, checkpoints, keys, shards, resumed } = report
  if (outcome === 'done_before') return 'this carry was complete before; nothing was to be done'
  if (outcome === 'would_carry')
    return `can be carried: at most ${events} events under ${report.leases} leases, ${keys} keys${resumed ? '; goes on with a carry that was cut short' : ''}`
  const filled = shards.filter((each) => each.events > 0).length
  return [
    `carried and compared: ${events} events in ${filled} shards (${copied} written now${resumed ? ', the rest by an earlier try' : ''}), ${positions} positions, ${checkpoints} checkpoints, ${keys} keys; ${seconds} s`,
    `start all nodes with --store ${shown(to.store)} --journal ${shown(to.journal)}; nodes refuse the old store until skein carry --reopen`,
  ].join('\n')
}

function shown(url: string): string {
  return url.replace(/(\/\/[^@/:]*):[^@]*@/, '$1@')
}
