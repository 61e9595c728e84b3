/** The versions of a document that are kept, the newest first: compared with the present one, and the way back to them. */
import { type ConfigDocumentJson, fetchVersions } from './config-client.js'
import { documentText } from './config-drafts.js'
import { DataTable } from './data-table.js'
import { DiffView } from './diff-view.js'
import { agoText } from './format.js'
import type { ChangeView } from './page-view.js'
import { useAnswer } from './use-answer.js'

interface Props {
  /** As it is now. */
  readonly document: ConfigDocumentJson
  /** The version it is compared with; none of them for none. */
  readonly compared: number
  readonly nowMs: number
  readonly mayWrite: boolean
  readonly change: ChangeView
  readonly onRollBack: (version: number) => void
}

export function ConfigHistory({ document, compared, nowMs, mayWrite, change, onRollBack }: Props) {
  const { key, version: present } = document
  const { answer, error } = useAnswer(`history ${key} ${present}`, () => fetchVersions(key))
  const other = answer?.find(({ version }) => version === compared)
  return (
    <section aria-labelledby="history-title">
      <h3 id="history-title">History</h3>
      {error === null ? null : (
        <p class="bad" role="alert">
          The history could not be read: {error}
        </p>
      )}
      {answer === null ? null : (
        <DataTable label={`History of ${key}`} columns={['Version', 'Written', 'By', 'Note', 'Action']}>
          {answer.map(({ version, at, by, note }) => (
            <tr key={version} data-version={version} class={version === compared ? 'picked' : undefined}>
              <th scope="row">{version}</th>
              <td class="figure" data-tip={at}>
                {agoText(at, nowMs)}
              </td>
              <td>{by}</td>
              <td>{note}</td>
              <td>
                {version === present ? (
                  <span class="aside">the present one</span>
                ) : (
                  <span class="acts">
                    <button
                      type="button"
                      aria-label={`Compare version ${version}`}
                      aria-pressed={version === compared}
                      onClick={() => change({ version: version === compared ? '' : String(version) })}
                    >
                      compare
                    </button>
                    {mayWrite ? (
                      <button
                        type="button"
                        aria-label={`Roll back to version ${version}`}
                        onClick={() => onRollBack(version)}
                      >
                        roll back…
                      </button>
                    ) : null}
                  </span>
                )}
              </td>
            </tr>
          ))}
        </DataTable>
      )}
      {other === undefined || compared === present ? null : (
        <DiffView
          label={`From version ${compared} to ${present}`}
          before={documentText(other)}
          after={documentText(document)}
        />
      )}
    </section>
  )
}
