/** The documents by name, and the way to one that is not there yet. */
import { useState } from 'preact/hooks'
import type { ConfigDocumentJson } from './config-client.js'
import type { ConfigDrafts } from './config-drafts.js'
import { DataTable } from './data-table.js'
import { agoText } from './format.js'
import type { ChangeView } from './page-view.js'

interface Props {
  readonly documents: readonly ConfigDocumentJson[]
  readonly drafts: ConfigDrafts
  readonly nowMs: number
  readonly mayWrite: boolean
  /** The key of the one that is open. */
  readonly open: string
  readonly change: ChangeView
}

export function ConfigList({ documents, drafts, nowMs, mayWrite, open, change }: Props) {
  const [name, setName] = useState('')
  const openIt = (config: string): void => change({ config, version: '' })
  return (
    <>
      {documents.length === 0 ? (
        <p class="empty">
          No document yet: <code>skein config set KEY VALUE</code>
        </p>
      ) : (
        <DataTable label="Documents" columns={['Document', 'Version', 'Changed', 'By', 'Note']}>
          {documents.map(({ key, version, at, by, note }) => (
            <tr key={key} data-document={key} class={key === open ? 'picked' : undefined}>
              <th scope="row">
                <button
                  type="button"
                  class="opener"
                  aria-current={key === open ? 'true' : undefined}
                  onClick={() => openIt(key)}
                >
                  {key}
                </button>
                {drafts.of(key) === undefined ? null : <span class="tag warn">unsaved</span>}
              </th>
              <td class="figure">{version}</td>
              <td class="figure" data-tip={at}>
                {agoText(at, nowMs)}
              </td>
              <td>{by}</td>
              <td>{note}</td>
            </tr>
          ))}
        </DataTable>
      )}
      {mayWrite ? (
        <form
          class="bar"
          onSubmit={(event) => {
            event.preventDefault()
            openIt(name.trim())
            setName('')
          }}
        >
          <input
            type="text"
            aria-label="Name of a new document"
            placeholder="new document …"
            value={name}
            onInput={({ currentTarget }) => setName(currentTarget.value)}
          />
          <button type="submit" disabled={name.trim() === ''}>
            Begin it
          </button>
        </form>
      ) : null}
    </>
  )
}
