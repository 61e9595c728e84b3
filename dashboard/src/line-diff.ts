/** What has to be taken out of one text and put in to get another, line by line: the fewest lines (Myers). Pure. */

export type DiffSign = ' ' | '-' | '+'

export interface DiffLine {
  readonly sign: DiffSign
  readonly text: string
}

/** Beyond so many changes the search for the fewest is given up, and all between the first and the last change is taken as changed. */
const changesMax = 1_000

export function diffLines(before: string, after: string): readonly DiffLine[] {
  const a = before.split('\n')
  const b = after.split('\n')
  let head = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head++
  let tail = 0
  while (
    tail < a.length - head &&
    tail < b.length - head &&
    a[a.length - 1 - tail] === b[b.length - 1 - tail]
  )
    tail++
  return [
    ...marked(' ', a.slice(0, head)),
    ...between(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...marked(' ', a.slice(a.length - tail)),
  ]
}

function marked(sign: DiffSign, lines: readonly string[]): DiffLine[] {
  return lines.map((text) => ({ sign, text }))
}

/** For each number of changes, how far each diagonal gets; then back along the way that arrived first. */
function between(a: readonly string[], b: readonly string[]): DiffLine[] {
  const furthest = new Map([[1, 0]])
  const trace: ReadonlyMap<number, number>[] = []
  for (let changes = 0; changes <= Math.min(a.length + b.length, changesMax); changes++) {
    trace.push(new Map(furthest))
    for (let k = -changes; k <= changes; k += 2) {
      let x = isDown(furthest, k, changes) ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0) + 1
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++
      furthest.set(k, x)
      if (x >= a.length && x - k >= b.length) return wayBack(a, b, trace)
    }
  }
  return [...marked('-', a), ...marked('+', b)]
}

function isDown(furthest: ReadonlyMap<number, number>, k: number, changes: number): boolean {
  return k === -changes || (k !== changes && (furthest.get(k - 1) ?? 0) < (furthest.get(k + 1) ?? 0))
}

function wayBack(
  a: readonly string[],
  b: readonly string[],
  trace: readonly ReadonlyMap<number, number>[],
): DiffLine[] {
  const lines: DiffLine[] = []
  let x = a.length
  let y = b.length
  for (let changes = trace.length - 1; changes >= 0; changes--) {
    const furthest = trace[changes] as ReadonlyMap<number, number>
    const k = x - y
    const from = isDown(furthest, k, changes) ? k + 1 : k - 1
    const fromX = changes === 0 ? 0 : (furthest.get(from) ?? 0)
    const fromY = changes === 0 ? 0 : fromX - from
    while (x > fromX && y > fromY) {
      lines.push({ sign: ' ', text: a[x - 1] as string })
      x--
      y--
    }
    if (changes === 0) break
    if (x === fromX) lines.push({ sign: '+', text: b[y - 1] as string })
    else lines.push({ sign: '-', text: a[x - 1] as string })
    x = fromX
    y = fromY
  }
  return lines.reverse()
}
