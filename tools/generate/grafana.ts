/** The dashboard for Grafana, from the panels in the table of metrics. */
import { areas, type MetricSpec, type Panel } from '../../src/runtime/metrics/metric.js'
import { metricTable } from '../../src/runtime/metrics/table.js'

const datasource = { type: 'prometheus', uid: '$datasource' }
const width = 24
const graph = { w: 8, h: 8 }
const stat = { w: 4, h: 4 }
const chosen = 'job=~"$job",instance=~"$instance"'

interface Placed {
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}

export function grafanaDashboard(): string {
  const panels: (Placed & Record<string, unknown>)[] = []
  let y = 0
  let id = 0
  for (const area of areas) {
    const ofArea = (metricTable as readonly MetricSpec[]).flatMap((m) =>
      m.area === area && m.panel !== undefined ? [{ metric: m, panel: m.panel }] : [],
    )
    if (ofArea.length === 0) continue
    panels.push({
      id: ++id,
      type: 'row',
      title: area,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y, w: width, h: 1 },
    })
    y++
    let x = 0
    let lineHeight = 0
    // Small ones first, so that lines are even.
    const ordered = [...ofArea].sort((a, b) => rank(a.panel) - rank(b.panel))
    for (const { metric, panel } of ordered) {
      const { w, h } = panel.kind === 'stat' ? stat : graph
      if (x + w > width || (lineHeight > 0 && h !== lineHeight)) {
        x = 0
        y += lineHeight
        lineHeight = 0
      }
      panels.push({ ...panelOf(++id, metric, panel), gridPos: { x, y, w, h } })
      x += w
      lineHeight = h
    }
    y += lineHeight
  }
  return `${JSON.stringify(dashboardOf(panels), null, 2)}\n`
}

function rank(panel: Panel): number {
  return panel.kind === 'stat' ? 0 : 1
}

function panelOf(id: number, { help, moves }: MetricSpec, { title, kind, unit, queries }: Panel) {
  return {
    id,
    type: kind === 'stat' ? 'stat' : 'timeseries',
    title,
    description: `${help}. ${moves}`,
    datasource,
    fieldConfig: {
      defaults: {
        unit,
        ...(kind === 'stat'
          ? {}
          : { min: 0, custom: { lineWidth: 1, fillOpacity: 10, showPoints: 'never' } }),
      },
      overrides: [],
    },
    options:
      kind === 'stat'
        ? { reduceOptions: { calcs: ['lastNotNull'] }, textMode: 'value_and_name' }
        : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: queries.map(({ expr, legend }, at) => ({
      refId: String.fromCharCode(65 + at),
      datasource,
      expr: expr.replaceAll('$at', chosen),
      legendFormat: legend === '' ? '__auto' : legend,
    })),
  }
}

function dashboardOf(panels: readonly unknown[]) {
  const variable = (name: string, query: string, multi: boolean) => ({
    name,
    type: 'query',
    datasource,
    query: { query, refId: name },
    refresh: 2,
    includeAll: multi,
    multi,
    ...(multi ? { current: { text: 'All', value: '$__all' } } : {}),
    sort: 1,
  })
  return {
    uid: 'skein',
    title: 'Skein',
    description: 'Made from src/runtime/metrics by npm run docs:generate',
    tags: ['skein'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus' },
        variable('job', 'label_values(skein_build_info, job)', false),
        variable('instance', 'label_values(skein_build_info{job=~"$job"}, instance)', true),
      ],
    },
    panels,
  }
}
