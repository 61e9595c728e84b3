/** The replicated maps that hold anything, as this node has them, and how its copies do. */
import { DataTable } from './data-table.js'
import { agoText, bytesText, countText } from './format.js'
import type { LiveData } from './live-data.js'
import { fetchMaps, type MapListJson } from './maps-client.js'
import type { ChangeView } from './page-view.js'
import { WantedPanel } from './wanted-panel.js'

const shownMax = 200

interface Props {
  readonly live: LiveData
  readonly nowMs: number
  readonly change: ChangeView
}

export function MapsPanel({ live, nowMs, change }: Props) {
  return (
    <WantedPanel
      {...{ live }}
      id="maps"
      title="Replicated maps"
      isWide
      question={{ ask: fetchMaps }}
      aside={({ count }) =>
        count > shownMax ? `the first ${shownMax} of ${countText(count)}` : countText(count)
      }
    >
      {(all) => (
        <>
          <Health all={all} nowMs={nowMs} />
          {all.maps.length === 0 ? (
            <p class="empty">
              No map holds anything: <code>skein maps set MAP KEY VALUE</code>
            </p>
          ) : (
            <DataTable label="Maps" columns={['Map', 'Keys', 'Deletes remembered', 'Size']}>
              {all.maps.slice(0, shownMax).map(({ name, keys, tombstones, bytes }) => (
                <tr key={name} data-map={name}>
                  <th scope="row">
                    <button type="button" class="opener" onClick={() => change({ map: name, after: '' })}>
                      {name}
                    </button>
                  </th>
                  <td class="figure">{countText(keys)}</td>
                  <td class="figure">{countText(tombstones)}</td>
                  <td class="figure">{bytesText(bytes)}</td>
                </tr>
              ))}
            </DataTable>
          )}
        </>
      )}
    </WantedPanel>
  )
}

function Health({ all, nowMs }: { readonly all: MapListJson; readonly nowMs: number }) {
  const { conflicts, refused, caught_up_at } = all
  return (
    <ul class="legend" aria-label="How the copies of this node do">
      <li class={conflicts > 0 ? 'warn' : undefined} data-testid="map-conflicts">
        {conflicts > 0 ? <span aria-hidden="true">▲ </span> : null}
        {countText(conflicts)} lost against concurrent writes
      </li>
      <li class={refused > 0 ? 'warn' : undefined}>{countText(refused)} refused, stamped too far ahead</li>
      <li>
        {caught_up_at === null
          ? 'not caught up with another node so far'
          : `caught up ${agoText(caught_up_at, nowMs)}`}
      </li>
    </ul>
  )
}
