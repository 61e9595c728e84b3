/** A colour per owner: by the place of its id among all ids, so that it stays while a node is away. Pure. */
const palette = [
  '#58a6ff',
  '#3fb950',
  '#bc8cff',
  '#e3b341',
  '#f778ba',
  '#39c5cf',
  '#ff9b5e',
  '#9ece6a',
  '#c9a0dc',
  '#7aa2f7',
]
export const unownedColor = '#3a424d'

export class OwnerColors {
  private readonly order: readonly string[]

  constructor(ids: Iterable<string>) {
    this.order = [...new Set(ids)].toSorted((a, b) => a.localeCompare(b, undefined, { numeric: true }))
  }

  of(owner: string | null): string {
    const index = owner === null ? -1 : this.order.indexOf(owner)
    if (index === -1) return unownedColor
    // Beyond the palette: hues a golden angle apart never meet.
    return palette[index] ?? `hsl(${Math.round(index * 137.5) % 360} 60% 66%)`
  }
}
