/** The frame of what opens at the side of the page. A native modal dialog: focus, Escape and the backdrop come with it. */
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'

interface Props {
  readonly title: string
  /** Why what is shown could not be asked for (again). */
  readonly error: string | null
  readonly hasAnswer: boolean
  readonly onClose: () => void
  readonly children: ComponentChildren
}

export function Drawer({ title, error, hasAnswer, onClose, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog class="drawer" ref={dialog} onClose={onClose} aria-labelledby="drawer-title">
      <div class="panel-head">
        <h2 id="drawer-title">{title}</h2>
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
      {error === null ? null : (
        <p class="bad" role="alert">
          {hasAnswer ? <span class="tag warn">stale</span> : null} {error}
        </p>
      )}
      {!hasAnswer && error === null ? <p class="empty">Asking …</p> : null}
      {children}
    </dialog>
  )
}
