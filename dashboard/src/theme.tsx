/** Dark or light: as the reader's system is, or as the reader chose on this very browser. */
import { useEffect, useState } from 'preact/hooks'

const themes = ['system', 'dark', 'light'] as const
type Theme = (typeof themes)[number]

const storageKey = 'skein-theme'

/** A browser may keep its storage from pages; then the choice lasts as long as the page. */
function readTheme(): Theme {
  try {
    return themes.find((each) => each === localStorage.getItem(storageKey)) ?? 'system'
  } catch {
    return 'system'
  }
}

function keepTheme(theme: Theme): void {
  try {
    localStorage.setItem(storageKey, theme)
  } catch {
    // As above.
  }
}

/** Before anything is drawn. */
export function applyTheme(theme: Theme = readTheme()): void {
  const { dataset } = document.documentElement
  if (theme === 'system') delete dataset.theme
  else dataset.theme = theme
}

export function ThemeButton() {
  const [theme, setTheme] = useState(readTheme)
  const next = themes[(themes.indexOf(theme) + 1) % themes.length] ?? 'system'
  const choose = (): void => {
    keepTheme(next)
    applyTheme(next)
    setTheme(next)
  }
  return (
    <button type="button" class="theme" data-tip={`Change to: ${next}`} onClick={choose}>
      Theme: {theme}
    </button>
  )
}

/** Changes whenever the colours do; for what is painted rather than styled. */
export function useColorsSign(): string {
  const read = (): string => `${document.documentElement.dataset.theme ?? ''} ${light.matches}`
  const [light] = useState(() => matchMedia('(prefers-color-scheme: light)'))
  const [sign, setSign] = useState(read)
  useEffect(() => {
    const onChange = (): void => setSign(read())
    light.addEventListener('change', onChange)
    const observer = new MutationObserver(onChange)
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] })
    return () => {
      light.removeEventListener('change', onChange)
      observer.disconnect()
    }
  }, [light])
  return sign
}

/** A colour of the style sheet as a canvas takes it: whatever functions it is written with are worked out. */
export function paintOf(name: string): string {
  const probe = document.createElement('span')
  probe.style.color = `var(${name})`
  document.body.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}
