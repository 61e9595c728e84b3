/** Writing a document, or going back to an earlier version of it: what that changes against what is there now, then the deed, only in place of just that. */
import { useState } from 'preact/hooks'
import { fetchDocument, fetchVersions, rollBack, writeDocument } from './config-client.js'
import { type ConfigDrafts, documentText, parseText } from './config-drafts.js'
import { DiffView } from './diff-view.js'
import { Refused } from './http-client.js'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { useAnswer } from './use-answer.js'

interface Common {
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

interface SaveProps extends Common {
  readonly name: string
  readonly drafts: ConfigDrafts
}

export function ConfigSavePlan({ name, drafts, outcomes, onDone, onClose }: SaveProps) {
  // What is saved is what was shown.
  const [draft] = useState(() => drafts.of(name))
  const { answer, error } = useAnswer(`document ${name}`, () => fetchDocument(name))
  const replaced = draft?.base?.version ?? 0
  const present = answer?.document?.version ?? 0
  const obstacle =
    error ??
    (answer === null
      ? 'Asking what is there …'
      : draft === undefined
        ? 'Nothing was changed'
        : present === replaced
          ? null
          : `Version ${present} came meanwhile: look at it first`)
  const act = async (): Promise<string> => {
    const parsed = parseText(draft?.text ?? '')
    if (draft === undefined || 'error' in parsed) throw new Error('this is no JSON')
    try {
      const { version } = await writeDocument(name, replaced, parsed.value, draft.note)
      drafts.drop(name)
      return `${name} is at version ${version}`
    } catch (cause) {
      if (cause instanceof Refused && cause.status < 500 && cause.status !== 412)
        drafts.put(name, { ...draft, refusal: { message: cause.message, faults: cause.faults } })
      throw cause
    } finally {
      // Also after a refusal: what came meanwhile is to be seen.
      onDone()
    }
  }
  return (
    <PlanDialog title={`Save ${name}`} verb="Save" {...{ obstacle, act, outcomes, onClose }}>
      {answer === null || draft === undefined ? null : (
        <>
          <p>
            {present === 0 ? 'It becomes version 1.' : `It replaces version ${present}, and only that.`} Every
            node has it at once{name === 'skein' ? ', and applies it' : ''}.
          </p>
          <DiffView
            label="What would change"
            before={documentText(answer.document)}
            after={reformatted(draft.text)}
          />
        </>
      )}
    </PlanDialog>
  )
}

/** As it will be read again: the node keeps values, not blanks. */
function reformatted(text: string): string {
  const parsed = parseText(text)
  return 'error' in parsed ? text : (JSON.stringify(parsed.value, null, 2) ?? '')
}

interface RollbackProps extends Common {
  readonly name: string
  readonly version: number
}

export function ConfigRollbackPlan({ name, version, outcomes, onDone, onClose }: RollbackProps) {
  const { answer, error } = useAnswer(`versions ${name}`, () => fetchVersions(name))
  const [note, setNote] = useState('')
  const present = answer?.[0]
  const target = answer?.find((each) => each.version === version)
  const obstacle =
    error ??
    (answer === null ? 'Asking for the versions …' : target === undefined ? 'It is not kept any more' : null)
  const act = async (): Promise<string> => {
    try {
      const made = await rollBack(name, present?.version ?? 0, version, note)
      return `${name} is at version ${made.version}, with the value of version ${version}`
    } finally {
      onDone()
    }
  }
  return (
    <PlanDialog
      title={`Roll ${name} back to version ${version}`}
      verb="Roll back"
      isDestructive
      {...{ obstacle, act, outcomes, onClose }}
    >
      {present === undefined || target === undefined ? null : (
        <>
          <p>
            The value of version {version} is written again, as version {present.version + 1}, in place of
            version {present.version} and only that. Nothing is taken out of the history.
          </p>
          <DiffView label="What would change" before={documentText(present)} after={documentText(target)} />
          <label class="stack">
            Note, for the history{' '}
            <input type="text" value={note} onInput={({ currentTarget }) => setNote(currentTarget.value)} />
          </label>
        </>
      )}
    </PlanDialog>
  )
}
