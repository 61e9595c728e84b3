/** The evidence behind one node's status, in a drawer. A native modal dialog: focus, Escape and the backdrop come with it. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { preciseClockText } from './format.js'
import { fetchWhy, type WhyJson } from './http-client.js'
import { nodeState } from './node-state.js'

const refreshMs = 2_000

export function WhyPanel({ nodeId, onClose }: { nodeId: string; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const { why, error } = useWhy(nodeId)
  useEffect(() => dialog.current?.showModal(), [])
  const state = why === null ? '' : nodeState(why.node)
  return (
    <dialog class="drawer" ref={dialog} onClose={onClose} aria-labelledby="why-title">
      <div class="panel-head">
        <h2 id="why-title">
          Why is {nodeId} {state === '' ? 'so' : state}?
        </h2>
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
      {error === null ? null : <p role="alert">The evidence could not be read: {error}</p>}
      {why === null && error === null ? <p class="empty">Asking …</p> : null}
      {why === null ? null : <Evidence why={why} state={state} />}
    </dialog>
  )
}

function Evidence({ why, state }: { why: WhyJson; state: string }) {
  return (
    <div class={`evidence ${state}`}>
      <p class="summary">{why.summary}</p>
      <p class="aside">
        As seen by {why.observer}, whose own health score is {why.observer_health} (0 is well)
      </p>
      {why.evidence.length === 0 ? <p class="empty">No evidence was needed: nothing was missed.</p> : null}
      <ol>
        {why.evidence.toReversed().map(({ at, kind, observer, detail }, index) => (
          <li key={`${at} ${why.evidence.length - index}`}>
            <time dateTime={at}>{preciseClockText(Date.parse(at))}</time> <b>{observer}</b>{' '}
            <span class="tag">{kind}</span>
            <span class="detail">{detail}</span>
          </li>
        ))}
      </ol>
    </div>
  )
}

function useWhy(nodeId: string): { why: WhyJson | null; error: string | null } {
  const [why, setWhy] = useState<WhyJson | null>(null)
  const [error, setError] = useState<string | null>(null)
  useEffect(() => {
    let isOver = false
    let timer: ReturnType<typeof setTimeout> | undefined
    const ask = async () => {
      try {
        const answer = await fetchWhy(nodeId)
        if (isOver) return
        setWhy(answer)
        setError(null)
      } catch (cause) {
        if (!isOver) setError(cause instanceof Error ? cause.message : String(cause))
      }
      if (!isOver) timer = setTimeout(() => void ask(), refreshMs)
    }
    void ask()
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [nodeId])
  return { why, error }
}
