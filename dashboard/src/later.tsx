/** What may come a moment after the rest: a page of hundreds of nodes shows its top at once, and is not in the way of who wants to go on. */
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'

/** Nodes; with fewer, all of a page is drawn at once. */
export const largeFrom = 30

interface Props {
  /** Else at once. */
  readonly isLarge: boolean
  readonly children: ComponentChildren
}

export function Later({ isLarge, children }: Props): ComponentChildren {
  const [isDue, setIsDue] = useState(!isLarge)
  useEffect(() => {
    if (isDue) return
    let timer: ReturnType<typeof setTimeout> | undefined
    const frame = requestAnimationFrame(() => {
      timer = setTimeout(() => setIsDue(true))
    })
    return () => {
      cancelAnimationFrame(frame)
      clearTimeout(timer)
    }
  }, [isDue])
  return isDue ? children : null
}
