// A real Prometheus over a real cluster: every query of dashboard and alerts works, a killed node raises its alert, and its return ends it
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { ProcessCluster, type ProcessNode, publish, until, Verdict } from './lib/cluster.js'

const root = resolve(import.meta.dirname, '../..')
const program = process.env.PROMETHEUS ?? 'prometheus'
const startMsMax = 60_000
/** The alert waits a minute, and Prometheus looks every second. */
const fireMsMax = 120_000
const endMsMax = 30_000

const verdict = new Verdict()
const cluster = new ProcessCluster()
await cluster.start(3)

const port = await freePort()
const prometheus = startPrometheus(port)
process.once('exit', () => prometheus.kill('SIGKILL'))
prometheus.once('error', (error) => {
  console.error(`${program}: ${error.message} (Debian: apt-get install prometheus; or set PROMETHEUS)`)
  process.exit(1)
})

interface Answer<T> {
  readonly status: string
  readonly error?: string
  readonly data: T
}

async function ask<T>(path: string): Promise<Answer<T>> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`, {
    signal: AbortSignal.timeout(5_000),
  })
  return (await response.json()) as Answer<T>
}

interface FiredAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly state: string
}

async function alerts(state: string): Promise<string[]> {
  const { data } = await ask<{ readonly alerts: readonly FiredAlert[] }>('alerts')
  return data.alerts.filter((a) => a.state === state).map((a) => a.labels.alertname ?? '')
}

async function value(query: string): Promise<number | undefined> {
  const { data } = await ask<{ readonly result: readonly { readonly value: readonly [number, string] }[] }>(
    `query?query=${encodeURIComponent(query)}`,
  )
  const text = data.result[0]?.value[1]
  return text === undefined ? undefined : Number(text)
}

await until(
  async () => (await value('count(skein_build_info)').catch(() => 0)) === 3,
  startMsMax,
  'Prometheus to read three nodes',
)
for (let i = 0; i < 50; i++)
  await publish((cluster.nodes[i % 3] as ProcessNode).http, { stream: 's', key: `k${i}`, payload: i })
await until(
  async () =>
    ((await value('sum(rate(skein_events_total{outcome="accepted"}[1m]))').catch(() => 0)) ?? 0) > 0,
  startMsMax,
  'events to be seen as a rate',
)

await tryQueries()
const quiet = await alerts('firing')
verdict.check('no alert fires while all is well', quiet.length === 0, quiet.join(', ') || 'none')

const victim = cluster.nodes[2] as ProcessNode
const killedMs = performance.now()
await victim.kill()
const raised = async (): Promise<boolean> => (await alerts('firing')).includes('SkeinNodeOffline')
await until(raised, fireMsMax, 'SkeinNodeOffline to fire')
const afterMs = performance.now() - killedMs
verdict.check(
  'a killed node raises SkeinNodeOffline',
  afterMs >= 60_000,
  `after ${(afterMs / 1_000).toFixed(0)} s, not before its minute`,
)
const critical = (await alerts('firing')).filter((name) =>
  ['SkeinNoLeader', 'SkeinShardsUnowned', 'SkeinStoreDown'].includes(name),
)
verdict.check(
  'and nothing that would wake somebody: the others took over',
  critical.length === 0,
  critical.join(', ') || 'none',
)

await victim.start()
await until(async () => !(await raised()), endMsMax, 'the alert to end').catch(async (error: unknown) => {
  const seen = await ask<unknown>(`query?query=${encodeURIComponent('skein_nodes{status="offline"}')}`)
  console.error(JSON.stringify(seen.data))
  for (const node of cluster.nodes) console.error(node.id, node.isRunning, node.stderr.slice(-1_000))
  throw error
})
verdict.check('its return ends the alert', true, 'resolved')
prometheus.kill('SIGTERM')
await once(prometheus, 'exit')
verdict.end()

/** Of the dashboard as Grafana would ask them, and of the alert rules as Prometheus judged them. */
async function tryQueries(): Promise<void> {
  const dashboard = JSON.parse(readFileSync(join(root, 'deploy/grafana/skein.json'), 'utf8')) as {
    readonly panels: readonly {
      readonly title: string
      readonly targets?: readonly { readonly expr: string }[]
    }[]
  }
  const failed: string[] = []
  let empty = 0
  let count = 0
  for (const { title, targets = [] } of dashboard.panels)
    for (const { expr } of targets) {
      count++
      const query = expr
        .replaceAll('$job', 'skein')
        .replaceAll('$instance', '.*')
        .replaceAll('$__rate_interval', '1m')
      const { status, error, data } = await ask<{ readonly result: readonly unknown[] }>(
        `query?query=${encodeURIComponent(query)}`,
      )
      if (status !== 'success') failed.push(`${title}: ${error}`)
      else if (data.result.length === 0) empty++
    }
  verdict.check(
    'every query of the dashboard is answered',
    failed.length === 0,
    failed.join('; ') || `${count} asked, ${empty} with nothing to show on an idle cluster`,
  )
  const { data } = await ask<{
    readonly groups: readonly {
      readonly rules: readonly {
        readonly name: string
        readonly health: string
        readonly lastError?: string
      }[]
    }[]
  }>('rules')
  const rules = data.groups.flatMap((g) => g.rules)
  const bad = rules.filter((r) => r.health !== 'ok')
  verdict.check(
    'every alert rule is evaluated',
    rules.length > 30 && bad.length === 0,
    bad.map((r) => `${r.name}: ${r.lastError ?? r.health}`).join('; ') || `${rules.length} rules`,
  )
}

function startPrometheus(at: number) {
  const dir = join(cluster.dir, 'prometheus')
  mkdirSync(dir)
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [join(root, 'deploy/prometheus/alerts.yaml')],
    scrape_configs: [{ job_name: 'skein', static_configs: [{ targets: cluster.nodes.map((n) => n.http) }] }],
  }
  // JSON is YAML.
  writeFileSync(join(dir, 'prometheus.yml'), JSON.stringify(config))
  return spawn(
    program,
    [
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${at}`,
      '--log.level=error',
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
