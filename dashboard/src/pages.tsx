/** Which pages there are and the way to each panel of them. The hash of the address names a panel; the page is the one that has it. */
import { useEffect, useState } from 'preact/hooks'

export type PageName = 'cluster' | 'agents' | 'events' | 'programs' | 'config' | 'audit'

const links: readonly (readonly [id: string, name: string, page: PageName])[] = [
  ['cluster', 'Cluster', 'cluster'],
  ['agents', 'Agents', 'agents'],
  ['events', 'Events', 'events'],
  ['services', 'Services', 'programs'],
  ['names', 'Names', 'programs'],
  ['rooms', 'Rooms', 'programs'],
  ['sessions', 'Sessions', 'programs'],
  ['processors', 'Processors', 'programs'],
  ['maps', 'Maps', 'programs'],
  ['config', 'Configuration', 'config'],
  ['audit', 'Audit', 'audit'],
]
/** Panels that no link leads to, but an address may. */
const others: Readonly<Record<string, PageName>> = {
  topology: 'cluster',
  verdicts: 'cluster',
  nodes: 'cluster',
  matrix: 'cluster',
  ground: 'cluster',
  shards: 'cluster',
  timeline: 'cluster',
  balancer: 'agents',
  lookup: 'events',
  tail: 'events',
}

export const pageTitles: Readonly<Record<PageName, string>> = {
  cluster: 'Cluster Nodes',
  agents: 'Agents',
  events: 'Events',
  programs: 'What programs use',
  config: 'Configuration',
  audit: 'Audit log',
}

export interface Place {
  readonly page: PageName
  /** Of the panel, without the sign; empty for the top of the first page. */
  readonly hash: string
}

function placeOf(hash: string): Place {
  const id = hash.replace(/^#/, '')
  const page = links.find(([each]) => each === id)?.[2] ?? others[id]
  return page === undefined ? { page: 'cluster', hash: '' } : { page, hash: id }
}

/** Follows the address; once the page that it names is there, leads to its panel. */
export function usePlace(isReady: boolean): Place {
  const [place, setPlace] = useState(() => placeOf(location.hash))
  useEffect(() => {
    const onHash = (): void => setPlace(placeOf(location.hash))
    addEventListener('hashchange', onHash)
    return () => removeEventListener('hashchange', onHash)
  }, [])
  useEffect(() => {
    // The browser looked for it before it was there. The first panel of a page is its top.
    if (!isReady) return
    const target = document.getElementById(place.hash)
    const isFirst = place.hash === place.page || place.hash === 'services' || place.hash === ''
    if (target !== null && !isFirst) target.scrollIntoView()
    else scrollTo(0, 0)
  }, [place, isReady])
  return place
}

export function PageLinks({ place }: { readonly place: Place }) {
  const current = place.hash === '' ? 'cluster' : place.hash
  return (
    <nav class="links" aria-label="Pages">
      {links.map(([id, name, page]) => (
        <a
          key={id}
          href={`#${id}`}
          class={page === place.page ? 'here' : undefined}
          aria-current={id === current || (id === page && page === place.page) ? 'page' : undefined}
        >
          {name}
        </a>
      ))}
    </nav>
  )
}
