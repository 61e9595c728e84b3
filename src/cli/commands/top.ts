/** `skein top`: the cluster at a glance, as it moves. */
import { type FailedAgents, failedAgentsPath, type OwnershipJson } from '../checkup.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { pause, untilInterrupted } from '../interrupt.js'
import { print, printJson, printLines, tell } from '../output.js'
import { addressesOf, type RemoteManyOptions, remoteMany, tlsOf, whole } from '../remote.js'
import { FullScreen } from '../top/full-screen.js'
import { footer, picture } from '../top/picture.js'
import { type AgentRow, Look, TopState } from '../top/top-state.js'
import { WatchSource } from '../top/watch-source.js'
import { watched } from '../view.js'

interface TopOptions extends RemoteManyOptions {
  readonly watch?: boolean
  readonly interval: string
}

const sideMs = 2_000
const sideTimeoutMs = 3_000
const agentsMax = 1_000
const redrawMs = 150
const missedMax = 2_000
/** Without a terminal. */
const plainRoom = { width: 160, height: 60 }

export function addTop(program: SkeinCommand): void {
  watched(
    remoteMany(
      program
        .command('top')
        .description('the cluster at a glance, as it moves: nodes, leader, rates, alarms, what happened')
        .details(
          'Keys: left and right choose a panel (nodes, agents, timeline, alarms), up and down scroll, s sorts by the next column, r turns it round, p stands still, ? helps, q ends. When the node that is asked goes away it goes on with another one that it has learned of, and says so. Without a terminal it prints one picture; --watch prints one after the other.',
        )
        .example('skein top', 'until q')
        .example('skein top --addr h1:8151,h2:8151', 'whichever of them answers')
        .example('skein top --json | jq .alarms', 'one look, for scripts'),
    ),
  ).action(top)
}

async function top(o: TopOptions): Promise<void> {
  const periodMs = whole('--interval', o.interval, 1, 3_600) * 1_000
  const view = new TopView(o)
  const isScreen = process.stdout.isTTY === true && o.json !== true
  if (isScreen) await view.onScreen()
  else await view.plainly(o.watch === true ? periodMs : undefined)
}

class TopView {
  private readonly o: TopOptions
  private readonly state = new TopState()
  private readonly look = new Look()
  private readonly source: WatchSource
  private onNews = (): void => {}
  private onFirst: () => void = () => {}
  private readonly first: Promise<void>
  private readonly missed: (() => void)[] = []

  constructor(o: TopOptions) {
    this.o = o
    const addresses = addressesOf(o.addr)
    this.state.addr = addresses[0] as string
    this.first = new Promise((done) => {
      this.onFirst = done
    })
    this.source = new WatchSource(
      addresses,
      { token: o.token, tls: tlsOf(o) },
      {
        connected: (addr, history, instead) =>
          this.apply(() => {
            this.state.connected(addr, history, instead)
            if (o.json === true && instead !== undefined) tell(`skein: lost ${instead}; asking ${addr} now`)
          }),
        state: (state) =>
          this.apply(() => {
            this.state.take(state)
            this.onFirst()
          }),
        feed: (event) => this.apply(() => this.state.feed(event)),
        silent: (why) =>
          this.apply(() => {
            this.state.trouble = why
          }),
      },
    )
  }

  /** What comes while the picture stands still is taken in afterwards. */
  private apply(update: () => void): void {
    if (!this.look.isPaused) {
      update()
      this.onNews()
      return
    }
    this.missed.push(update)
    if (this.missed.length > missedMax) this.missed.shift()
  }

  private key(name: string): 'quit' | boolean {
    const outcome = this.look.key(name)
    if (!this.look.isPaused) for (const update of this.missed.splice(0)) update()
    return outcome
  }

  /** Until a key or a signal ends it. */
  async onScreen(): Promise<void> {
    const { signal, release } = untilInterrupted()
    const end = new AbortController()
    signal.addEventListener('abort', () => end.abort())
    process.once('SIGHUP', () => end.abort())
    let lastMs = 0
    let timer: NodeJS.Timeout | undefined
    const draw = (): void => {
      lastMs = performance.now()
      const { width, height } = screen.size
      const lines = picture(this.state, this.look, { width, height: height - 1 })
      const filled = [...lines, ...Array.from({ length: Math.max(0, height - 1 - lines.length) }, () => '')]
      screen.draw([...filled, footer(this.look, width)])
    }
    /** Not more often than eyes can follow. */
    const drawSoon = (): void => {
      timer ??= setTimeout(
        () => {
          timer = undefined
          draw()
        },
        Math.max(0, lastMs + redrawMs - performance.now()),
      )
    }
    const screen = new FullScreen({
      key: (name) => {
        const outcome = this.key(name)
        if (outcome === 'quit') end.abort()
        else if (outcome) draw()
      },
      resized: draw,
    })
    this.onNews = drawSoon
    screen.open()
    draw()
    try {
      await Promise.all([
        this.source.run(end.signal).finally(() => end.abort()),
        this.askBeside(end.signal, drawSoon),
      ])
    } finally {
      clearTimeout(timer)
      screen.close()
      release()
    }
  }

  /** Once, or again and again; as JSON or as the picture without a screen. */
  async plainly(periodMs: number | undefined): Promise<void> {
    const { signal, release } = untilInterrupted()
    const end = new AbortController()
    signal.addEventListener('abort', () => end.abort())
    const running = this.source.run(end.signal)
    const failed = running.then(() => {
      if (!end.signal.aborted) throw new CliFailure(exitCodes.unreachable, 'the cluster is gone')
    })
    try {
      await Promise.race([
        this.first,
        failed,
        new Promise((done) => end.signal.addEventListener('abort', done)),
      ])
      for (;;) {
        if (end.signal.aborted) break
        await this.lookBeside()
        this.show(periodMs !== undefined)
        if (periodMs === undefined) break
        if (await Promise.race([pause(periodMs, end.signal), failed.then(() => true)])) break
      }
      if (periodMs === undefined && this.o.json !== true)
        tell('(one picture, since this is no terminal; --watch goes on, --json is for programs)')
    } finally {
      end.abort()
      release()
      await running.catch(() => undefined)
    }
  }

  private show(isOneOfMany: boolean): void {
    if (this.o.json !== true)
      printLines([...picture(this.state, this.look, plainRoom), ...(isOneOfMany ? [''] : [])])
    else if (isOneOfMany) print(JSON.stringify(this.state.toJson()))
    else printJson(this.state.toJson())
  }

  /** What the stream does not tell: the agents one by one while they are looked at, and what the auditor found. */
  private async askBeside(signal: AbortSignal, onNews: () => void): Promise<void> {
    do {
      if (this.state.state !== undefined && !this.look.isPaused) {
        await this.lookBeside()
        onNews()
      }
    } while (!(await pause(sideMs, signal)))
  }

  private async lookBeside(): Promise<void> {
    const { options } = this.source
    const ask = (path: string) => call(options, 'GET', path, undefined, sideTimeoutMs)
    try {
      this.state.ownership = (await ask('/api/cluster/ownership')) as OwnershipJson
      this.state.failed = (await ask(failedAgentsPath)) as FailedAgents
      if (this.look.panel !== 'agents') return
      const answer = await ask(`/api/agents?limit=${agentsMax}`)
      const { agents, total } = answer as { agents: readonly AgentRow[]; total: number }
      this.state.agents = agents
      this.state.agentsTotal = total
    } catch (error) {
      // The stream says whether the node is there; what was known stays until the next look.
      this.state.note(error instanceof Error ? error.message : String(error), true)
    }
  }
}
