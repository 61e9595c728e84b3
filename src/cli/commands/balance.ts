/** `skein balance`, `skein rebalance`: how agents are placed, and moving them until it is so. */
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { follow } from '../follow.js'
import { fixedNames } from '../names.js'
import { didYouMean } from '../nearest.js'
import { print, printJson, printLines, table } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

type Row = Record<string, unknown>

interface Moves {
  readonly strategy?: string
  readonly dry_run?: boolean
  readonly moves?: readonly Move[]
}

interface Move {
  readonly agent: string
  readonly from: string
  readonly to: string
  readonly why: string
}

interface AgentRow {
  readonly name: string
  readonly status: string
  readonly node_id: string | null
}

const patienceMs = 40_000

export function addBalance(program: SkeinCommand): void {
  remote(
    program
      .command('balance [strategy]')
      .description('show or choose the strategy by which agents are placed')
      .details(`Strategies: ${fixedNames('strategy')?.join(', ')}. docs/AGENTS.md says what each goes by.`)
      .names('strategy')
      .option('--dry-run', 'only show who would move')
      .example('skein balance', 'the one in force')
      .example('skein balance spread --dry-run', 'who would move')
      .example('skein balance least_loaded', 'on every node, at once'),
  ).action(balance)
  remote(
    program
      .command('rebalance')
      .description('move agents until the cluster looks as its strategy wants it, and wait for them')
      .option('--moves <n>', 'at most so many', '100')
      .option('--timeout <seconds>', 'wait for them so long; exit code 6 when it was not enough', '60')
      .option('--dry-run', 'only show them')
      .option('--detach', 'only begin it')
      .example('skein rebalance --dry-run', 'what would move, and why')
      .example('skein rebalance --moves 20', 'the twenty that matter most, with a bar'),
  ).action(rebalance)
}

async function balance(
  strategy: string | undefined,
  o: RemoteOptions & { readonly dryRun?: boolean },
): Promise<void> {
  if (strategy === undefined) {
    const { balancer } = (await call(clientOf(o), 'GET', '/api/cluster/stats')) as { balancer: Row }
    if (o.json === true) printJson(balancer)
    else print(String(balancer.strategy))
    return
  }
  const body = { strategy, ...(o.dryRun === true ? { dry_run: true } : {}) }
  const answer = await call(clientOf(o), 'POST', '/api/cluster/balance', body).catch((error: unknown) => {
    const hint = didYouMean(strategy.replaceAll('-', '_'), fixedNames('strategy') ?? [])
    if (!(error instanceof CliFailure) || error.exitCode !== exitCodes.usage || hint === undefined)
      throw error
    throw new CliFailure(error.exitCode, error.message, { code: error.code, hint })
  })
  if (o.json === true) printJson(answer)
  else printLines(moveLines(answer as Moves))
}

interface RebalanceOptions extends RemoteOptions {
  readonly moves: string
  readonly timeout: string
  readonly dryRun?: boolean
  readonly detach?: boolean
}

async function rebalance(o: RebalanceOptions): Promise<void> {
  const moves_max = whole('--moves', o.moves, 1, 10_000)
  const timeoutMs = whole('--timeout', o.timeout, 1, 86_400) * 1_000
  const body = { moves_max, dry_run: o.dryRun === true }
  const answer = (await call(clientOf(o), 'POST', '/api/cluster/rebalance', body, patienceMs)) as Moves
  if (o.json === true) printJson(answer)
  else printLines(moveLines(answer))
  const moves = answer.moves ?? []
  if (o.dryRun !== true && o.detach !== true && moves.length > 0) await arrive(o, moves, timeoutMs)
}

/** Until each is where it was sent, or elsewhere for a reason of its own and at rest. */
async function arrive(o: RemoteOptions, moves: readonly Move[], timeoutMs: number): Promise<void> {
  const untilMs = Date.now() + timeoutMs
  const { done, total } = await follow(o, 'skein agents ls --status migrating --watch', async () => {
    const { agents } = (await call(clientOf(o), 'GET', '/api/agents?limit=10000')) as { agents: AgentRow[] }
    const byName = new Map(agents.map((agent) => [agent.name, agent]))
    const left = moves.filter(({ agent, from }) => {
      const now = byName.get(agent)
      return (
        now !== undefined && (now.node_id === from || now.status === 'migrating' || now.status === 'starting')
      )
    })
    const arrived = moves.length - left.length
    return {
      done: arrived,
      total: moves.length,
      text: `${arrived} of ${moves.length} agents moved`,
      isOver: left.length === 0 || Date.now() > untilMs,
    }
  })
  if (done < total)
    throw new CliFailure(exitCodes.timedOut, `${total - done} agents have not moved yet`, {
      code: 'timeout',
      hint: 'skein agents ls --status migrating shows them',
    })
}

function moveLines(answer: Moves): readonly string[] {
  const lines: string[] = []
  if (answer.strategy !== undefined)
    lines.push(`strategy: ${answer.strategy}${answer.dry_run === true ? ' (not changed)' : ''}`)
  const list = answer.moves
  if (list === undefined) return lines
  if (list.length === 0) return [...lines, 'nothing would move']
  return [
    ...lines,
    ...table(
      ['AGENT', 'FROM', 'TO', 'WHY'],
      list.map((m) => [m.agent, m.from, m.to, m.why]),
    ),
  ]
}
