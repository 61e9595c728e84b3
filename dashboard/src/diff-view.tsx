/** What a change would do to a document, line by line; long runs of what stays are left out. */
import { useMemo } from 'preact/hooks'
import { type DiffLine, type DiffSign, diffLines } from './line-diff.js'

const aroundMax = 3

interface Props {
  readonly label: string
  readonly before: string
  readonly after: string
}

export function DiffView({ label, before, after }: Props) {
  const lines = useMemo(() => diffLines(before, after), [before, after])
  const added = lines.filter(({ sign }) => sign === '+').length
  const removed = lines.filter(({ sign }) => sign === '-').length
  if (added + removed === 0) return <p class="empty">No line differs.</p>
  return (
    <>
      <p data-testid="diff-count">
        {label}: <span class="good">+{added}</span> <span class="bad">−{removed}</span> lines
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a pointer */}
      <section class="diff mono" aria-label={label} tabIndex={0}>
        {withoutLongRuns(lines).map((line, index) => (
          <Line key={`${index} ${line.text}`} {...line} />
        ))}
      </section>
    </>
  )
}

function Line({ sign, text }: Shown) {
  if (sign === '…') return <div class="aside">… {text} lines that stay …</div>
  const inner = (
    <>
      <span aria-hidden="true">{sign} </span>
      <span class="visually-hidden">{spoken[sign]}</span>
      {text}
    </>
  )
  if (sign === '+') return <ins>{inner}</ins>
  if (sign === '-') return <del>{inner}</del>
  return <div>{inner}</div>
}

const spoken: Readonly<Record<DiffSign, string>> = { ' ': '', '+': 'added: ', '-': 'removed: ' }

interface Shown {
  readonly sign: DiffSign | '…'
  readonly text: string
}

function withoutLongRuns(lines: readonly DiffLine[]): readonly Shown[] {
  const shown: Shown[] = []
  let run: DiffLine[] = []
  const flush = (isEnd: boolean): void => {
    const before = shown.length === 0 ? 0 : aroundMax
    const after = isEnd ? 0 : aroundMax
    const left = run.length - before - after
    if (left > 1)
      shown.push(...run.slice(0, before), { sign: '…', text: String(left) }, ...run.slice(run.length - after))
    else shown.push(...run)
    run = []
  }
  for (const line of lines) {
    if (line.sign === ' ') run.push(line)
    else {
      flush(false)
      shown.push(line)
    }
  }
  flush(true)
  return shown
}
