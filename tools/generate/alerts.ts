/** The alert rules of Prometheus and their runbook, from the table of metrics. */
import { stringify } from 'yaml'
import { type Alert, areas, type MetricSpec } from '../../src/runtime/metrics/metric.js'
import { metricTable } from '../../src/runtime/metrics/table.js'

interface Found {
  readonly alert: Alert
  readonly metric: MetricSpec
}

/** In order of areas, as in the table. */
export const alerts: readonly Found[] = areas.flatMap((area) =>
  (metricTable as readonly MetricSpec[])
    .filter((metric) => metric.area === area)
    .flatMap((metric) => (metric.alerts ?? []).map((alert) => ({ alert, metric }))),
)

export function anchorOf(name: string): string {
  return name.toLowerCase()
}

export function alertRules(): string {
  const groups = areas.flatMap((area) => {
    const rules = alerts
      .filter(({ metric }) => metric.area === area)
      .map(({ alert }) => ({
        alert: alert.name,
        expr: alert.expr,
        for: alert.for,
        labels: { severity: alert.severity },
        annotations: {
          summary: alert.summary,
          description: alert.means,
          runbook: `docs/ALERTS.md#${anchorOf(alert.name)}`,
        },
      }))
    return rules.length === 0 ? [] : [{ name: `skein: ${area.toLowerCase()}`, rules }]
  })
  return `# Made from src/runtime/metrics by npm run docs:generate; do not edit. One job per cluster: see docs/DEPLOY.md.\n${stringify(
    { groups },
    { lineWidth: 0 },
  )}`
}

export function alertsPage(): string {
  const lines = [
    '# Alerts',
    '',
    'Made from the table of metrics (`src/runtime/metrics`) by `npm run docs:generate`; what is written here by hand is lost.',
    '',
    'The rules are in [deploy/prometheus/alerts.yaml](../deploy/prometheus/alerts.yaml), unit tests of some of them beside it. They take one `job` of Prometheus for one cluster, whatever it is called; `process_*` metrics',
    'are looked at where the name of the job has `skein` in it. **critical**: somebody must be woken. **warning**: somebody must look today. What the metrics are: [METRICS.md](METRICS.md). Where to look at all: `skein status`, `skein history`,',
    '`skein doctor`, the dashboard.',
    '',
    '| alert | severity | after | says |',
    '| --- | --- | --- | --- |',
    ...alerts.map(
      ({ alert }) =>
        `| [${alert.name}](#${anchorOf(alert.name)}) | ${alert.severity} | ${alert.for} | ${plain(alert.summary)} |`,
    ),
    '',
    ...alerts.flatMap(({ alert, metric }) => section(alert, metric)),
  ]
  return `${lines.join('\n').trimEnd()}\n`
}

function section(alert: Alert, metric: MetricSpec): string[] {
  return [
    `## ${alert.name}`,
    '',
    `${alert.severity}, after ${alert.for}, on [\`${metric.name}\`](METRICS.md#${metric.name}):`,
    '',
    '```promql',
    alert.expr,
    '```',
    '',
    `**What it means.** ${alert.means}`,
    '',
    '**How to look.**',
    '',
    ...alert.look.map((line) => `- ${line}`),
    '',
    '**What to do.**',
    '',
    ...alert.act.map((line) => `- ${line}`),
    '',
  ]
}

/** Without the templates of Prometheus. */
function plain(summary: string): string {
  return summary
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, '_$1_')
    .replaceAll(/\{\{ \$value[^}]*\}\}/g, '_n_')
    .replaceAll('|', '\\|')
}
