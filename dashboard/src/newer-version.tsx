/** Somebody else was faster: what came, what it changed, and the choice between it and what is written here. */
import { useState } from 'preact/hooks'
import type { ConfigDocumentJson } from './config-client.js'
import { type Draft, documentText } from './config-drafts.js'
import { DiffView } from './diff-view.js'

interface Props {
  readonly document: ConfigDocumentJson
  readonly draft: Draft
  readonly onKeep: () => void
  readonly onTake: () => void
}

export function NewerVersion({ document, draft, onKeep, onTake }: Props) {
  const [isShown, setIsShown] = useState(false)
  const { version, by, note } = document
  const begun = draft.base === null ? 'when there was none' : `from version ${draft.base.version}`
  return (
    <div class="newer" role="alert">
      <p>
        <b>Version {version} came meanwhile</b>
        {by === '' ? '' : `, by ${by}`}
        {note === '' ? '' : ` (${note})`}. What is written here was begun {begun}.
      </p>
      <div class="bar">
        <button type="button" aria-expanded={isShown} onClick={() => setIsShown(!isShown)}>
          {isShown ? 'Hide' : 'Show'} what it changed
        </button>
        <button type="button" onClick={onKeep}>
          Keep mine, to replace version {version}
        </button>
        <button type="button" onClick={onTake}>
          Take version {version}
        </button>
      </div>
      {isShown ? (
        <DiffView
          label={`What version ${version} changed`}
          before={documentText(draft.base)}
          after={documentText(document)}
        />
      ) : null}
    </div>
  )
}
