/** What runs at the moment, the oldest first, each with its end for those who may. */
import { DataTable } from './data-table.js'
import { agoText, countText } from './format.js'
import type { RunJson } from './processors-client.js'

const shownMax = 200

interface Props {
  readonly runs: readonly RunJson[]
  readonly nowMs: number
  readonly mayAct: boolean
  readonly onKill: (id: string) => void
}

export function RunTable({ runs, nowMs, mayAct, onKill }: Props) {
  const sorted = runs.toSorted((a, b) => (a.started_at ?? '').localeCompare(b.started_at ?? ''))
  return (
    <>
      <DataTable label="Running" columns={['Run', 'Processor', 'Node', 'Started', 'By', 'For', 'Action']}>
        {sorted.slice(0, shownMax).map((run) => (
          <tr key={run.id} data-run={run.id}>
            <th scope="row" class="mono">
              {run.id}
            </th>
            <td>{run.name}</td>
            <td>{run.node_id}</td>
            <td class="figure">{agoText(run.started_at ?? null, nowMs)}</td>
            <td>{run.started_by ?? '–'}</td>
            <td>{helpText(run)}</td>
            <td>
              {run.is_stopping === true ? (
                <span class="tag warn">told to stop</span>
              ) : mayAct ? (
                <button type="button" aria-label={`Kill ${run.id}`} onClick={() => onKill(run.id)}>
                  kill…
                </button>
              ) : (
                <span class="aside">needs the role operator</span>
              )}
            </td>
          </tr>
        ))}
      </DataTable>
      {runs.length > shownMax ? (
        <p class="aside">
          The oldest {shownMax} of {countText(runs.length)}: <code>skein processors ls</code> has all of them
        </p>
      ) : null}
    </>
  )
}

function helpText({ helps }: RunJson): string {
  if (helps === undefined || helps === null) return 'a spawn'
  return `the stream ${helps.stream} of ${helps.owner} (${helps.group})`
}
