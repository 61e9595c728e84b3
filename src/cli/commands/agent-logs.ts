/** `skein agents logs`: the output of a process agent, as it was and as it comes. */
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { untilInterrupted } from '../interrupt.js'
import { paint, print } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

interface Line {
  readonly stream: string
  readonly text: string
}

interface LogOptions extends RemoteOptions {
  readonly lines: string
  readonly follow?: boolean
}

/** Of one question for more. */
const waitMs = 5_000

export function addAgentLogs(agents: SkeinCommand): void {
  remote(
    agents
      .command('logs <name>')
      .description('recent output of a process agent; with --json one line of JSON each')
      .names('agent')
      .option('--lines <n>', 'how many', '100')
      .option('-f, --follow', 'go on as it comes, until Ctrl-C')
      .example('skein agents logs tick', 'the last hundred lines')
      .example('skein agents logs tick -f --lines 10', 'the last ten, and what comes'),
  ).action(logs)
}

async function logs(name: string, o: LogOptions): Promise<void> {
  let limit = whole('--lines', o.lines, 1, 1_000)
  let after: number | undefined
  const { signal, release } = untilInterrupted()
  const ended = new Promise<undefined>((done) => signal.addEventListener('abort', () => done(undefined)))
  try {
    for (;;) {
      const query = new URLSearchParams({
        limit: String(limit),
        ...(after === undefined ? {} : { after: String(after), wait_ms: String(waitMs) }),
      })
      const asked = call(clientOf(o), 'GET', `/api/agents/${encodeURIComponent(name)}/logs?${query}`)
      const answer = (await Promise.race([asked, ended])) as { lines: Line[]; next_after: number } | undefined
      if (answer === undefined) process.exit(0)
      for (const line of answer.lines)
        print(
          o.json === true
            ? JSON.stringify(line)
            : line.stream === 'stderr'
              ? paint('yellow', line.text)
              : line.text,
        )
      if (o.follow !== true) return
      after = answer.next_after
      limit = 1_000
    }
  } finally {
    release()
  }
}
