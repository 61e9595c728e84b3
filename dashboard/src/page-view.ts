/** What the page shows, as far as somebody may want to come back to it or send it to somebody else: kept in the query of its address. */
import { useCallback, useEffect, useState } from 'preact/hooks'

export interface PageView {
  /** The agent whose panel is open; empty for none. */
  readonly agent: string
  /** Filters of the agents; empty for all. */
  readonly text: string
  readonly status: string
  readonly node: string
  readonly kind: string
  /** A column, after a minus sign for the other way round. */
  readonly sort: string
}

const emptyView: PageView = { agent: '', text: '', status: '', node: '', kind: '', sort: 'name' }
const fields = Object.keys(emptyView) as (keyof PageView)[]

export type ChangeView = (change: Partial<PageView>) => void

export function usePageView(): readonly [PageView, ChangeView] {
  const [view, setView] = useState(() => readView(location.search))
  useEffect(() => {
    const onPop = (): void => setView(readView(location.search))
    addEventListener('popstate', onPop)
    return () => removeEventListener('popstate', onPop)
  }, [])
  const change = useCallback((part: Partial<PageView>) => {
    const before = readView(location.search)
    const next = { ...before, ...part }
    const path = `${location.pathname}${queryOf(next, location.search)}`
    // Going back closes what was opened; it does not undo a filter letter by letter.
    if (next.agent === before.agent) history.replaceState(null, '', path)
    else history.pushState(null, '', path)
    setView(next)
  }, [])
  return [view, change]
}

function readView(search: string): PageView {
  const given = new URLSearchParams(search)
  const entries = fields.map((field) => [field, given.get(field) ?? emptyView[field]])
  return Object.fromEntries(entries) as Record<keyof PageView, string>
}

/** Leaves alone what is not ours. */
function queryOf(view: PageView, search: string): string {
  const query = new URLSearchParams(search)
  for (const field of fields) {
    if (view[field] === emptyView[field]) query.delete(field)
    else query.set(field, view[field])
  }
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}
