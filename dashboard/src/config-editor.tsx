/** One document as text: what is wrong with it while it is written, what the node had against it, and what others wrote meanwhile. */
import type { ConfigDocumentJson } from './config-client.js'
import { type ConfigDrafts, type Draft, documentText, parseText } from './config-drafts.js'
import { NewerVersion } from './newer-version.js'

const noteLengthMax = 512
const rows = 14

interface Props {
  readonly name: string
  /** As it is now; null where there is none. */
  readonly document: ConfigDocumentJson | null
  readonly drafts: ConfigDrafts
  readonly mayWrite: boolean
  readonly onReview: () => void
  readonly onClose: () => void
}

export function ConfigEditor({ name, document, drafts, mayWrite, onReview, onClose }: Props) {
  const draft = drafts.of(name)
  const shown: Draft = draft ?? { base: document, text: documentText(document), note: '', refusal: null }
  const parsed = parseText(shown.text)
  const wrong = shown.text.trim() === '' || !('error' in parsed) ? null : parsed.error
  const isSame = shown.text === documentText(shown.base)
  const edit = (part: Partial<Draft>): void => {
    const next = { ...shown, ...part, refusal: null }
    if (next.text === documentText(next.base) && next.note === '') drafts.drop(name)
    else drafts.put(name, next)
  }
  return (
    <section aria-labelledby="editor-title">
      <div class="panel-head">
        <h3 id="editor-title">
          {name}
          {document === null ? ', which is not there yet' : `, version ${document.version}`}
        </h3>
        <button type="button" onClick={onClose}>
          Close<span class="visually-hidden"> {name}</span>
        </button>
      </div>
      {draft === undefined || document === null || document.version === draft.base?.version ? null : (
        <NewerVersion
          {...{ document, draft }}
          onKeep={() => drafts.put(name, { ...draft, base: document, refusal: null })}
          onTake={() => drafts.drop(name)}
        />
      )}
      <div class="stack">
        <textarea
          class="mono"
          {...{ rows }}
          aria-label={`Value of ${name}, as JSON`}
          aria-invalid={wrong !== null || shown.refusal !== null}
          aria-describedby="editor-faults"
          spellcheck={false}
          readOnly={!mayWrite}
          value={shown.text}
          onInput={({ currentTarget }) => edit({ text: currentTarget.value })}
        />
        <div id="editor-faults" role="status">
          {wrong === null ? null : <p class="bad">No JSON: {wrong}</p>}
          {shown.refusal === null ? null : <Refusal refusal={shown.refusal} />}
        </div>
        {mayWrite ? (
          <>
            <label class="stack">
              Note, for the history{' '}
              <input
                type="text"
                maxLength={noteLengthMax}
                value={shown.note}
                onInput={({ currentTarget }) => edit({ note: currentTarget.value })}
              />
            </label>
            <div class="bar">
              <button type="button" class="primary" disabled={'error' in parsed || isSame} onClick={onReview}>
                Review and save…
              </button>
              <button type="button" disabled={draft === undefined} onClick={() => drafts.drop(name)}>
                Discard my changes
              </button>
            </div>
          </>
        ) : (
          <p class="aside">Changing it needs the role admin.</p>
        )}
      </div>
    </section>
  )
}

function Refusal({ refusal: { message, faults } }: { readonly refusal: NonNullable<Draft['refusal']> }) {
  return (
    <div class="bad">
      <p>The node refused it{faults.length === 0 ? `: ${message}` : ':'}</p>
      <ul class="meaning" aria-label="What the node has against it">
        {faults.map(({ field, allowed }) => (
          <li key={`${field} ${allowed}`}>
            <code>{field}</code>: {allowed}
          </li>
        ))}
      </ul>
    </div>
  )
}
