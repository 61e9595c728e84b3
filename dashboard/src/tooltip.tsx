/** One tooltip for the page: any element with `data-tip` shows its text, under the pointer or beside the focus. Escape hides it. */
import { useEffect, useState } from 'preact/hooks'

interface Tip {
  readonly text: string
  readonly x: number
  readonly y: number
}

export function Tooltip() {
  const [tip, setTip] = useState<Tip | null>(null)
  useEffect(() => {
    const stop = new AbortController()
    const options = { signal: stop.signal, passive: true }
    const show = (target: EventTarget | null, x: number, y: number) => {
      const text = target instanceof Element ? target.closest('[data-tip]')?.getAttribute('data-tip') : null
      setTip(text === null || text === undefined ? null : { text, x, y })
    }
    document.addEventListener(
      'pointermove',
      (event) => show(event.target, event.clientX, event.clientY),
      options,
    )
    document.addEventListener(
      'focusin',
      ({ target }) => {
        if (!(target instanceof Element) || !target.matches(':focus-visible')) return
        const box = target.getBoundingClientRect()
        show(target, box.left, box.bottom)
      },
      options,
    )
    document.addEventListener('focusout', () => setTip(null), options)
    document.addEventListener('scroll', () => setTip(null), options)
    document.addEventListener(
      'keydown',
      ({ key }) => {
        if (key === 'Escape') setTip(null)
      },
      options,
    )
    return () => stop.abort()
  }, [])
  if (tip === null) return null
  // Kept inside the window: on the right half the text ends at the pointer instead of beginning there.
  const isRight = tip.x > innerWidth / 2
  const isLow = tip.y > innerHeight - 110
  const place = {
    left: isRight ? 'auto' : `${tip.x + 12}px`,
    right: isRight ? `${innerWidth - tip.x + 12}px` : 'auto',
    top: isLow ? 'auto' : `${tip.y + 14}px`,
    bottom: isLow ? `${innerHeight - tip.y + 12}px` : 'auto',
  }
  return (
    <div class="tooltip" role="tooltip" style={place}>
      {tip.text}
    </div>
  )
}
