/** What the page shows, as far as somebody may want to come back to it or send it to somebody else: kept in the query of its address. */
import { useCallback, useEffect, useState } from 'preact/hooks'

export interface PageView {
  /** The node whose evidence is open; text in the nodes, and a column as of the agents. */
  readonly why: string
  readonly nodes: string
  readonly order: string
  /** The moment that is looked at, RFC 3339; empty for now. */
  readonly at: string
  /** The owner whose shards stand out; the one that is unassigned is `-`. */
  readonly owner: string
  /** The strategy that is looked at before it is chosen. */
  readonly strategy: string
  /** Which events are looked for and followed. */
  readonly stream: string
  readonly key: string
  /** Text in the audit log. */
  readonly audit: string
  /** The agent whose panel is open; empty for none. */
  readonly agent: string
  /** Filters of the agents; empty for all. */
  readonly text: string
  readonly status: string
  readonly node: string
  readonly kind: string
  /** A column, after a minus sign for the other way round. */
  readonly sort: string
  /** Text in the services, in the names; the service whose instances are open. */
  readonly services: string
  readonly names: string
  readonly service: string
  /** How the rooms begin; whose sessions; the room that is open. */
  readonly rooms: string
  readonly user: string
  readonly room: string
  /** The map that is open, and the key after which its page begins. */
  readonly map: string
  readonly after: string
  /** The document of the configuration that is open, and the version it is compared with. */
  readonly config: string
  readonly version: string
}

const emptyView: PageView = {
  why: '',
  nodes: '',
  order: '',
  at: '',
  owner: '',
  strategy: '',
  stream: '',
  key: '',
  audit: '',
  agent: '',
  text: '',
  status: '',
  node: '',
  kind: '',
  sort: 'name',
  services: '',
  names: '',
  service: '',
  rooms: '',
  user: '',
  room: '',
  map: '',
  after: '',
  config: '',
  version: '',
}
/** What is opened, as opposed to how it is looked for. */
const opened = ['why', 'agent', 'service', 'room', 'map', 'config'] as const
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
    const path = `${location.pathname}${queryOf(next, location.search)}${location.hash}`
    // Going back closes what was opened; it does not undo a filter letter by letter.
    if (opened.every((field) => next[field] === before[field])) history.replaceState(null, '', path)
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
