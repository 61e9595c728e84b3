/** How readable text is, measured in the browser. */

/** As much of the browser's elements as is looked at. */
interface Seen {
  readonly parentElement: Seen | null
  querySelector(selector: string): Seen | null
  readonly ownerDocument: {
    readonly defaultView: { getComputedStyle(of: Seen): { color: string; backgroundColor: string } }
  }
}

/** In the browser: the contrast (WCAG 2) of the first text of each selector with what is behind it. */
export function contrastsOf(root: Seen, selectors: readonly string[]): { text: string; contrast: number }[] {
  const styleOf = (element: Seen) => element.ownerDocument.defaultView.getComputedStyle(element)
  const channels = (color: string): number[] => (color.match(/[\d.]+/g) ?? []).map(Number)
  const luminance = (color: string): number => {
    const [r = 0, g = 0, b = 0] = channels(color).map((each) => {
      const share = each / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (element: Seen | null): string => {
    if (element === null) return 'rgb(255, 255, 255)'
    const { backgroundColor } = styleOf(element)
    const [, , , alpha = 1] = channels(backgroundColor)
    return alpha === 0 ? behind(element.parentElement) : backgroundColor
  }
  return selectors.flatMap((selector) => {
    const element = root.querySelector(selector)
    if (element === null) return []
    const a = luminance(styleOf(element).color)
    const b = luminance(behind(element))
    return [{ text: selector, contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) }]
  })
}
