/** Who sees whom: what every node says of every other one, side by side. A table while it can be read, painted cells beyond; who did not answer is a row with the reason. */
import { useMemo, useState } from 'preact/hooks'
import { fetchReachability, type SightJson } from './cluster-client.js'
import { durationText } from './format.js'
import type { LiveData } from './live-data.js'
import { MatrixCanvas } from './matrix-canvas.js'
import { memo } from './memo.js'
import { rttText, rttTone } from './topology-layout.js'
import { WantedPanel } from './wanted-panel.js'

const tableMax = 16
const complaintsMax = 12
/** Forty thousand sights are some megabytes, which every node is asked for, and a browser reads them in one go: with 200 nodes every 30 s. */
const restMsOf = (nodes: number): number => nodes * 150

const byName = new Intl.Collator('en', { numeric: true })

interface Props {
  readonly live: LiveData
  /** Around it the past is shown, which nobody remembers of this. */
  readonly isReplay: boolean
}

export const MatrixPanel = memo(function MatrixPanel({ live, isReplay }: Props) {
  return (
    <WantedPanel
      {...{ live }}
      id="matrix"
      title={isReplay ? 'Who sees whom, now' : 'Who sees whom'}
      question={{ ask: askSorted, restMs: () => restMsOf(live.state.nodes.length) }}
      aside={(rows) => {
        const silent = rows.filter(({ error }) => error !== undefined).length
        return silent === 0
          ? `${rows.length} nodes say`
          : `${rows.length - silent} of ${rows.length} nodes say`
      }}
    >
      {(rows) => (
        <>
          {rows.length < 2 ? <p class="empty">There is nobody else to see.</p> : null}
          {rows.length >= 2 && rows.length <= tableMax ? <Table rows={rows} /> : null}
          {rows.length > tableMax ? <Painted rows={rows} /> : null}
          <Complaints rows={rows} />
        </>
      )}
    </WantedPanel>
  )
})

async function askSorted(): Promise<readonly SightJson[]> {
  const rows = await fetchReachability()
  return rows.toSorted((a, b) => byName.compare(a.observer, b.observer))
}

interface Rows {
  readonly rows: readonly SightJson[]
}

function Table({ rows }: Rows) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a pointer
    <section class="table-frame" aria-label="Round trips, ms" tabIndex={0}>
      <table class="matrix">
        <thead>
          <tr>
            <th scope="col">sees →</th>
            {rows.map(({ observer }) => (
              <th key={observer} scope="col">
                {observer}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.observer} data-observer={row.observer}>
              <th scope="row">{row.observer}</th>
              {row.error === undefined ? (
                rows.map(({ observer }) => <Cell key={observer} row={row} other={observer} />)
              ) : (
                <td class="silent" colSpan={rows.length}>
                  ✕ {row.error}, last heard of {durationText(row.age_ms)} ago
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function Cell({ row, other }: { readonly row: SightJson; readonly other: string }) {
  if (row.observer === other) return <td class="sight">·</td>
  const sight = row.sees.find(({ node_id }) => node_id === other)
  const tip = sightText(row, other)
  if (sight === undefined)
    return (
      <td class="sight unknown" data-tip={tip}>
        ?
      </td>
    )
  const isSeen = sight.status === 'alive'
  const tone = isSeen
    ? rttTone(sight.rtt_ms > 0 ? sight.rtt_ms : null)
    : sight.status === 'suspect'
      ? 'doubt'
      : 'blind'
  return (
    <td class={`sight ${tone}`} data-tip={tip}>
      {isSeen ? (sight.rtt_ms > 0 ? sight.rtt_ms.toFixed(1) : '●') : sight.status === 'suspect' ? '▲' : '✕'}
      {isSeen ? null : <span class="visually-hidden">{sight.status}</span>}
    </td>
  )
}

export function sightText(row: SightJson, other: string): string {
  const { observer, error, age_ms } = row
  if (observer === other) return observer
  if (error !== undefined)
    return `${observer} did not answer: ${error}\nlast heard of ${durationText(age_ms)} ago`
  const sight = row.sees.find(({ node_id }) => node_id === other)
  if (sight === undefined) return `${observer} does not know ${other}`
  const missed = sight.missed_heartbeats === 0 ? '' : `, ${sight.missed_heartbeats} probes missed`
  const trip = sight.rtt_ms > 0 ? `, round trip ${rttText(sight.rtt_ms)}` : ''
  return `${observer} sees ${other} as ${sight.status}${trip}${missed}`
}

/** A grid of many cells: arrow keys and the pointer walk it, a line tells the one that is under them. */
function Painted({ rows }: Rows) {
  const [at, setAt] = useState<readonly [row: number, column: number] | null>(null)
  const row = at === null ? undefined : rows[at[0]]
  const other = at === null ? undefined : rows[at[1]]?.observer
  return (
    <>
      <MatrixCanvas rows={rows} at={at} onAt={setAt} />
      <p class="aside cursor-line" role="status">
        {row === undefined || other === undefined
          ? 'rows: who sees, columns: whom; arrow keys walk'
          : sightText(row, other).replaceAll('\n', ', ')}
      </p>
    </>
  )
}

/** In words, for everybody: what is not as it should be. */
function Complaints({ rows }: Rows) {
  const lines = useMemo(() => complaintsOf(rows), [rows])
  if (lines.length === 0)
    return rows.length < 2 ? null : <p class="good">● Every node sees every other one.</p>
  return (
    <ul class="complaints" aria-label="Who does not see whom">
      {lines.slice(0, complaintsMax).map((line) => (
        <li key={line}>
          <span class="warn" aria-hidden="true">
            ▲
          </span>{' '}
          {line}
        </li>
      ))}
      {lines.length > complaintsMax ? <li class="aside">and {lines.length - complaintsMax} more</li> : null}
    </ul>
  )
}

function complaintsOf(rows: readonly SightJson[]): readonly string[] {
  const silent = rows.flatMap((row) => (row.error === undefined ? [] : [sightText(row, '')]))
  const blind = new Map<string, string[]>()
  for (const { observer, sees } of rows)
    for (const { node_id, status } of sees) {
      if (status === 'alive' || status === 'left') continue
      const key = `${node_id} is ${status} to`
      const known = blind.get(key)
      if (known === undefined) blind.set(key, [observer])
      else known.push(observer)
    }
  return [
    ...[...blind].map(
      ([what, by]) =>
        `${what} ${by.slice(0, 4).join(', ')}${by.length > 4 ? ` and ${by.length - 4} more` : ''}`,
    ),
    ...silent.map((each) => each.replaceAll('\n', ', ')),
  ]
}
