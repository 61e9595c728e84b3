/** An answer of the node in a component: asked for when what it depends on changes, again every so often if wanted, the last one kept meanwhile. */
import { useEffect, useState } from 'preact/hooks'
import { errorText } from './outcomes.js'

export interface Asked<T> {
  /** The newest answer to this very question; null before the first. */
  readonly answer: T | null
  /** Why the last try failed; null when it did not. */
  readonly error: string | null
}

const none = { key: '', answer: null, error: null }

/** `key` names the question; null asks nothing. `repeatMs` 0: once. A hidden tab does not repeat. */
export function useAnswer<T>(key: string | null, ask: () => Promise<T>, repeatMs = 0): Asked<T> {
  const [asked, setAsked] = useState<Asked<T> & { readonly key: string }>(none)
  useEffect(() => {
    if (key === null) return
    let isOver = false
    let timer: ReturnType<typeof setTimeout> | undefined
    const once = async (): Promise<void> => {
      if (!document.hidden) {
        try {
          const answer = await ask()
          if (!isOver) setAsked({ key, answer, error: null })
        } catch (cause) {
          const keep = (before: Asked<T> & { readonly key: string }): T | null =>
            before.key === key ? before.answer : null
          if (!isOver) setAsked((before) => ({ key, answer: keep(before), error: errorText(cause) }))
        }
      }
      if (!isOver && repeatMs > 0) timer = setTimeout(() => void once(), repeatMs)
    }
    void once()
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [key, repeatMs])
  return asked.key === key ? asked : none
}
