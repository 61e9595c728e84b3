/** Who did what, over all nodes, newest first. Only admins may read it. */
import { type AuditJson, auditShownMax, fetchAudit } from './cluster-client.js'
import { DataTable } from './data-table.js'
import { agoText, countText } from './format.js'
import type { LiveData } from './live-data.js'
import type { ChangeView, PageView } from './page-view.js'
import { SearchInput } from './search-input.js'
import { WantedPanel } from './wanted-panel.js'

interface Props {
  readonly live: LiveData
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
  /** Somebody with the role admin looks. */
  readonly mayRead: boolean
}

type Entry = AuditJson['entries'][number]

export function AuditPanel({ live, nowMs, view, change, mayRead }: Props) {
  if (!mayRead)
    return (
      <section class="panel wide" id="audit" aria-labelledby="audit-title">
        <h2 id="audit-title">Audit log</h2>
        <p class="empty">
          Reading who did what needs the role <b>admin</b>.
        </p>
      </section>
    )
  return (
    <WantedPanel
      {...{ live }}
      id="audit"
      title="Audit log"
      isWide
      question={{ ask: fetchAudit }}
      aside={({ entries }) =>
        entries.length >= auditShownMax ? `the newest ${countText(auditShownMax)}` : countText(entries.length)
      }
      bar={
        <search class="bar" aria-label="Filter the audit log">
          <SearchInput
            label="Text in the audit log"
            placeholder="who, what, node, outcome …"
            text={view.audit}
            onText={(audit) => change({ audit })}
          />
        </search>
      }
    >
      {({ entries, incomplete = [] }) => {
        const text = view.audit.trim().toLowerCase()
        const found = entries.filter((each) => textOf(each).includes(text)).toReversed()
        return (
          <>
            {incomplete.map(({ node_id, error }) => (
              <p key={node_id} class="warn">
                <span aria-hidden="true">▲</span> {node_id} did not say what was done there: {error}
              </p>
            ))}
            {found.length === 0 ? (
              <p class="empty">
                {entries.length === 0 ? 'Nobody changed anything yet' : 'Nothing is like that'}:{' '}
                <code>skein audit</code>
              </p>
            ) : (
              <DataTable
                label="Audit log"
                columns={['When', 'Who', 'What', 'On', 'Outcome', 'At node', 'From']}
              >
                {found.map((each) => (
                  <Row key={`${each.hlc} ${each.node}`} entry={each} nowMs={nowMs} />
                ))}
              </DataTable>
            )}
          </>
        )
      }}
    </WantedPanel>
  )
}

function Row({ entry, nowMs }: { readonly entry: Entry; readonly nowMs: number }) {
  const { at, who, role, via, address, method, route, target, status, code, node, request } = entry
  const times = entry.count ?? 1
  const isRefused = status >= 400
  return (
    <tr data-audit={request}>
      <td class="figure" data-tip={`${at}${entry.since === undefined ? '' : `\nsince ${entry.since}`}`}>
        {agoText(at, nowMs)}
      </td>
      <th scope="row">
        {who}
        <span class="tag" data-tip={`by ${via}`}>
          {role ?? 'nobody'}
        </span>
      </th>
      <td>
        <code>
          {method} {route}
        </code>
        {times > 1 ? <span class="tag">{countText(times)} times</span> : null}
      </td>
      <td class="mono">{target === route ? '–' : target}</td>
      <td class={isRefused ? 'bad' : 'good'} data-tip={request === '' ? undefined : `request ${request}`}>
        <span aria-hidden="true">{isRefused ? '✕' : '✓'}</span> {status} {code ?? ''}
      </td>
      <td>{node}</td>
      <td class="mono">{address}</td>
    </tr>
  )
}

function textOf({ who, role, method, route, target, status, code, node, address }: Entry): string {
  return [who, role, method, route, target, status, code, node, address].join(' ').toLowerCase()
}
