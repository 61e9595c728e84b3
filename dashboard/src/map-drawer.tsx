/** One map: its keys with what they hold, page by page, and the values that lost against concurrent ones. */
import { Drawer } from './drawer.js'
import { agoText, bytesText, countText, hlcAt, valueText } from './format.js'
import { fetchMapPage, type MapEntryJson } from './maps-client.js'
import type { ChangeView } from './page-view.js'
import { useAnswer } from './use-answer.js'

const refreshMs = 2_000
const shownLengthMax = 2_000

interface Props {
  readonly name: string
  readonly after: string
  readonly nowMs: number
  readonly change: ChangeView
}

export function MapDrawer({ name, after, nowMs, change }: Props) {
  const { answer, error } = useAnswer(`map ${name} ${after}`, () => fetchMapPage(name, after), refreshMs)
  return (
    <Drawer
      title={`Map ${name}`}
      hasAnswer={answer !== null}
      error={error}
      onClose={() => change({ map: '', after: '' })}
    >
      <div class="panel-head">
        <span class="aside">
          {answer === null ? '' : `${countText(answer.keys)} keys, ${bytesText(answer.bytes)}`}
          {after === '' ? '' : `, those behind ${after}`}
        </span>
        <span class="acts">
          <button type="button" disabled={after === ''} onClick={() => change({ after: '' })}>
            First keys
          </button>
          <button
            type="button"
            disabled={answer?.next_cursor === undefined}
            onClick={() => change({ after: answer?.next_cursor ?? '' })}
          >
            Next keys
          </button>
        </span>
      </div>
      {answer?.entries.length === 0 ? (
        <p class="empty">
          No keys here: <code>skein maps set {name} KEY VALUE</code>
        </p>
      ) : null}
      <ul class="entries" aria-label={`Entries of ${name}`}>
        {answer?.entries.map((entry) => (
          <Entry key={entry.key} entry={entry} nowMs={nowMs} />
        ))}
      </ul>
    </Drawer>
  )
}

function Entry({ entry, nowMs }: { readonly entry: MapEntryJson; readonly nowMs: number }) {
  const { key, kind, value, hlc, node_id, conflicts } = entry
  const written = `${agoText(hlcAt(hlc), nowMs)}${node_id === null ? '' : ` on ${node_id}`}`
  return (
    <li data-key={key}>
      <p class="panel-head">
        <b>{key}</b>
        <span class="aside" data-tip={hlc}>
          {kind}, {written}
        </span>
      </p>
      <code>{valueText(value, shownLengthMax)}</code>
      {conflicts.length === 0 ? null : (
        <div class="conflicts">
          <p class="warn">
            <span aria-hidden="true">▲</span> won against {conflicts.length}{' '}
            {conflicts.length === 1 ? 'value' : 'values'} that had not seen it
          </p>
          <ul>
            {conflicts.map((lost) => (
              <li key={`${lost.hlc} ${lost.node_id}`}>
                <code>{valueText(lost.value, shownLengthMax)}</code>{' '}
                <span class="aside" data-tip={lost.hlc}>
                  {agoText(hlcAt(lost.hlc), nowMs)} on {lost.node_id}
                </span>
              </li>
            ))}
          </ul>
        </div>
      )}
    </li>
  )
}
