/** The names most like a misspelt one: fewest letters added, left out, exchanged or swapped. */

const distanceMax = 3
/** Of the letters, that must be right. */
const likenessMin = 0.5
const namesMax = 3

/** The nearest first; none when nothing is near. Case counts for little. */
export function nearest(word: string, names: readonly string[]): readonly string[] {
  return [...new Set(names)]
    .map((name) => ({ name, distance: distanceOf(word.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, distance }) => {
      const length = Math.max(word.length, name.length)
      return name !== word && distance <= distanceMax && 1 - distance / length >= likenessMin
    })
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, namesMax)
    .map(({ name }) => name)
}

/** `did you mean node-1 or node-2?` */
export function didYouMean(word: string, names: readonly string[]): string | undefined {
  const found = nearest(word, names)
  return found.length === 0 ? undefined : `did you mean ${found.join(' or ')}?`
}

/** Optimal string alignment: as Levenshtein, and two neighbours swapped count once. */
function distanceOf(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > distanceMax) return distanceMax + 1
  let before: number[] = []
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1]
      let best = Math.min((above[j] as number) + 1, (row[j - 1] as number) + 1)
      best = Math.min(best, (above[j - 1] as number) + (isSame ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, (before[j - 2] as number) + 1)
      row.push(best)
    }
    before = above
    above = row
  }
  return above[b.length] as number
}
