/** The list of all metrics for people, from their table. */
import { areas, type LabelValues, type MetricSpec } from '../../src/runtime/metrics/metric.js'
import { metricTable } from '../../src/runtime/metrics/table.js'
import { anchorOf } from './alerts.js'

export function metricsPage(): string {
  const lines = [
    '# Metrics',
    '',
    'Made from the table of metrics (`src/runtime/metrics`) by `npm run docs:generate`; what is written here by hand is lost.',
    '',
    '`GET /metrics` of every node, in the text format of Prometheus; where tokens are needed, one of role `viewer` does. Each node tells of itself and of what it sees; the sum over nodes is the cluster where nothing else is said.',
    'No label takes values without a limit: what goes beyond the values or the number given here is added up as `other`. Counters count since the start of the process. A dashboard for Grafana is in',
    '[deploy/grafana](../deploy/grafana), alert rules are in [deploy/prometheus](../deploy/prometheus) and explained in [ALERTS.md](ALERTS.md).',
    '',
    ...areas.flatMap((area) => [
      `## ${area}`,
      '',
      ...(metricTable as readonly MetricSpec[]).filter((m) => m.area === area).flatMap(entry),
    ]),
  ]
  return `${lines.join('\n').trimEnd()}\n`
}

function entry(metric: MetricSpec): string[] {
  const { name, type, unit, help, labels = {}, bounds, moves, alerts = [] } = metric
  const facts = [
    type,
    ...(unit === 'count' || unit === 'flag' ? [] : [unit]),
    ...Object.entries(labels).map(([label, values]) => `\`${label}\`: ${valuesOf(values)}`),
    ...(bounds === undefined ? [] : [`buckets up to ${bounds.join(', ')}`]),
  ]
  const seeAlerts = alerts.map(({ name: alert }) => `[${alert}](ALERTS.md#${anchorOf(alert)})`).join(', ')
  return [
    `### ${name}`,
    '',
    `${help}. _${facts.join('; ')}_`,
    '',
    `${moves}${seeAlerts === '' ? '' : ` Alerts: ${seeAlerts}.`}`,
    '',
  ]
}

function valuesOf(values: LabelValues): string {
  return 'values' in values ? values.values.join(', ') : `at most ${values.max} (${values.of})`
}
