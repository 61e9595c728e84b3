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
const byName = new Intl.Collator('en', { numeric: true })
export const unownedColor = '#3a424d'

export class OwnerColors {
  private readonly places: ReadonlyMap<string, number>

  constructor(ids: Iterable<string>) {
    const order = [...new Set(ids)].toSorted((a, b) => byName.compare(a, b))
    this.places = new Map(order.map((id, place) => [id, place]))
  }

  of(owner: string | null): string {
    const place = owner === null ? undefined : this.places.get(owner)
    if (place === undefined) return unownedColor
    // Beyond the palette: hues a golden angle apart never meet.
    return palette[place] ?? `hsl(${Math.round(place * 137.5) % 360} 60% 66%)`
  }
}
