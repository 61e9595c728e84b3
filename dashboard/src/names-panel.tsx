/** The names: who holds each, since when, and who succeeds. */
import { DataTable } from './data-table.js'
import { agoText, countText, hlcAt } from './format.js'
import type { LiveData } from './live-data.js'
import type { ChangeView, PageView } from './page-view.js'
import { fetchNames, type NameJson } from './registry-client.js'
import { SearchInput } from './search-input.js'
import { WantedPanel } from './wanted-panel.js'

const shownMax = 200

interface Props {
  readonly live: LiveData
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
}

export function NamesPanel({ live, nowMs, view, change }: Props) {
  return (
    <WantedPanel
      {...{ live }}
      id="names"
      title="Names"
      question={{ ask: fetchNames }}
      aside={(names) => countText(names.length)}
    >
      {(names) =>
        names.length === 0 ? (
          <p class="empty">
            No program has registered a name yet: <code>node.names.register(NAME, HANDLE)</code>; then{' '}
            <code>skein names ls</code>
          </p>
        ) : (
          <NameTable {...{ names, nowMs, view, change }} />
        )
      }
    </WantedPanel>
  )
}

type TableProps = Omit<Props, 'live'> & { readonly names: readonly NameJson[] }

function NameTable({ names, nowMs, view, change }: TableProps) {
  const text = view.names.trim().toLowerCase()
  const found = names.filter(({ name, node_id, methods }) =>
    [name, node_id, ...methods].join(' ').toLowerCase().includes(text),
  )
  return (
    <>
      <search class="bar" aria-label="Filter the names">
        <SearchInput
          label="Text in the names"
          placeholder="name, method, holder …"
          text={view.names}
          onText={(names) => change({ names })}
        />
        {found.length > shownMax ? <span class="aside">the first {shownMax}</span> : null}
      </search>
      {found.length === 0 ? <p class="empty">No name is like that.</p> : null}
      {found.length === 0 ? null : (
        <DataTable label="Names" columns={['Name', 'Kind', 'Holder', 'Since', 'Successors', 'Methods']}>
          {found.slice(0, shownMax).map(({ name, kind, node_id, registered_at, successors, methods }) => (
            <tr key={`${name} ${node_id}`} data-name={name}>
              <th scope="row">{name}</th>
              <td>{kind.replace('_', ' ')}</td>
              <td>{node_id}</td>
              <td class="figure" data-tip={registered_at}>
                {agoText(hlcAt(registered_at), nowMs)}
              </td>
              <td>{successors.length === 0 ? <span class="aside">nobody</span> : successors.join(' → ')}</td>
              <td>
                <code>{methods.join(', ')}</code>
              </td>
            </tr>
          ))}
        </DataTable>
      )}
    </>
  )
}
