/** The way to each panel of a long page, for who would rather not scroll there; an address may end in one of them too. */
import { useEffect } from 'preact/hooks'

const panels: readonly (readonly [id: string, name: string])[] = [
  ['services', 'Services'],
  ['names', 'Names'],
  ['rooms', 'Rooms'],
  ['sessions', 'Sessions'],
  ['processors', 'Processors'],
  ['maps', 'Maps'],
  ['config', 'Configuration'],
]

export function PanelLinks() {
  // The browser looked for it before it was there.
  useEffect(() => {
    if (location.hash !== '') document.getElementById(location.hash.slice(1))?.scrollIntoView()
  }, [])
  return (
    <nav class="links wide" aria-label="What programs use">
      <span class="aside">Programs use</span>
      {panels.map(([id, name]) => (
        <a key={id} href={`#${id}`}>
          {name}
        </a>
      ))}
    </nav>
  )
}
