/** The cluster's configuration: its documents, the one that is open in an editor with its history, and Skein's settings in force. */
import { useEffect, useState } from 'preact/hooks'
import { type ConfigListJson, fetchConfig } from './config-client.js'
import type { ConfigDrafts } from './config-drafts.js'
import { ConfigEditor } from './config-editor.js'
import { ConfigHistory } from './config-history.js'
import { ConfigList } from './config-list.js'
import { countText } from './format.js'
import type { LiveData } from './live-data.js'
import type { ChangeView, PageView } from './page-view.js'
import type { Plan } from './plans.js'
import { WantedPanel } from './wanted-panel.js'

interface Props {
  readonly live: LiveData
  readonly drafts: ConfigDrafts
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
  /** Writing it needs the role admin. */
  readonly mayWrite: boolean
  readonly onPlan: (plan: Plan) => void
}

export function ConfigPanel({ live, drafts, nowMs, view, change, mayWrite, onPlan }: Props) {
  useDrafts(drafts)
  const key = view.config
  return (
    <WantedPanel
      {...{ live }}
      id="config"
      title="Configuration"
      isWide
      question={{ ask: fetchConfig }}
      aside={({ count }) => `${countText(count)} ${count === 1 ? 'document' : 'documents'}`}
    >
      {({ documents, settings }) => {
        const document = documents.find((each) => each.key === key) ?? null
        return (
          <div class="config">
            <div>
              <ConfigList {...{ documents, drafts, nowMs, mayWrite, change }} open={key} />
              <Settings settings={settings} />
            </div>
            {key === '' ? null : (
              <div>
                <ConfigEditor
                  {...{ drafts, document, mayWrite }}
                  key={key}
                  name={key}
                  onReview={() => onPlan({ kind: 'config-save', key })}
                  onClose={() => change({ config: '', version: '' })}
                />
                {document === null ? null : (
                  <ConfigHistory
                    {...{ document, nowMs, mayWrite, change }}
                    compared={Number(view.version)}
                    onRollBack={(version) => onPlan({ kind: 'config-rollback', key, version })}
                  />
                )}
              </div>
            )}
          </div>
        )
      }}
    </WantedPanel>
  )
}

/** Drawn again with every change of a draft; a page with unsaved ones is not left without a question. */
function useDrafts(drafts: ConfigDrafts): void {
  const [, setCount] = useState(0)
  useEffect(() => {
    const onUnload = (event: BeforeUnloadEvent): void => {
      if (drafts.size > 0) event.preventDefault()
    }
    addEventListener('beforeunload', onUnload)
    const end = drafts.subscribe(() => setCount((count) => count + 1))
    return () => {
      removeEventListener('beforeunload', onUnload)
      end()
    }
  }, [drafts])
}

function Settings({ settings }: { readonly settings: ConfigListJson['settings'] }) {
  return (
    <section aria-labelledby="settings-title">
      <h3 id="settings-title">Skein’s settings in force on this node</h3>
      <dl class="facts">
        {Object.entries(settings).map(([name, value]) => (
          <div key={name} class="fact" data-setting={name}>
            <dt>{name}</dt>
            <dd>
              <code>{String(value)}</code>
            </dd>
          </div>
        ))}
      </dl>
      <p class="aside">
        The document <code>skein</code> changes them on every node at once.
      </p>
    </section>
  )
}
