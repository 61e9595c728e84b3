/** A large matrix of who sees whom, painted: forty thousand cells are too many for elements. */
import { useEffect, useRef } from 'preact/hooks'
import type { SightJson } from './cluster-client.js'
import { paintOf, useColorsSign } from './theme.js'
import { rttTone } from './topology-layout.js'

const cellPxMax = 14

interface Props {
  readonly rows: readonly SightJson[]
  readonly at: readonly [row: number, column: number] | null
  readonly onAt: (at: readonly [row: number, column: number] | null) => void
}

export function MatrixCanvas({ rows, at, onAt }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const colors = useColorsSign()
  const count = rows.length
  useEffect(() => {
    const element = canvas.current
    if (element !== null) paint(element, rows)
  }, [rows, colors])
  const onKeyDown = (event: KeyboardEvent): void => {
    const steps: Readonly<Record<string, readonly [number, number]>> = {
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
    }
    const step = steps[event.key]
    if (step === undefined) return
    event.preventDefault()
    const [row, column] = at ?? [0, 0]
    const kept = (value: number): number => Math.min(count - 1, Math.max(0, value))
    onAt(at === null ? [0, 0] : [kept(row + step[0]), kept(column + step[1])])
  }
  const onPointer = (event: PointerEvent): void => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect()
    const place = (offset: number, size: number): number =>
      Math.min(count - 1, Math.floor((offset / size) * count))
    onAt([place(event.clientY - box.top, box.height), place(event.clientX - box.left, box.width)])
  }
  const share = 100 / count
  return (
    <div
      class="matrix-canvas"
      role="application"
      aria-label={`Who sees whom, ${count} nodes; arrow keys walk the cells`}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it is walked by keys
      tabIndex={0}
      style={{ maxWidth: `${count * cellPxMax}px` }}
      onKeyDown={onKeyDown}
      onPointerMove={onPointer}
      onPointerLeave={() => onAt(null)}
    >
      <canvas ref={canvas} />
      {at === null ? null : (
        <span
          class="matrix-cursor"
          style={{
            top: `${at[0] * share}%`,
            left: `${at[1] * share}%`,
            width: `${share}%`,
            height: `${share}%`,
          }}
        />
      )}
    </div>
  )
}

const toneColors = {
  near: '--alive',
  middling: '--line',
  far: '--stalled',
  unknown: '--alive',
  doubt: '--warn',
  blind: '--failed',
  silent: '--left',
  none: '--meter',
} as const
type Tone = keyof typeof toneColors

/** One device pixel per cell, stretched by the style sheet: painting costs the same at any size. */
function paint(element: HTMLCanvasElement, rows: readonly SightJson[]): void {
  const count = rows.length
  element.width = count
  element.height = count
  const context = element.getContext('2d')
  if (context === null) return
  const image = context.createImageData(count, count)
  const cells = new Uint32Array(image.data.buffer)
  const colors = Object.fromEntries(
    Object.entries(toneColors).map(([tone, name]) => [tone, packed(paintOf(name))]),
  ) as Record<Tone, number>
  const column = new Map(rows.map(({ observer }, at) => [observer, at]))
  rows.forEach(({ observer, error, sees }, row) => {
    const start = row * count
    cells.fill(error === undefined ? colors.none : colors.silent, start, start + count)
    for (const { node_id, status, rtt_ms } of sees) {
      const at = column.get(node_id)
      if (at !== undefined) cells[start + at] = colors[toneOf(status, rtt_ms)]
    }
    cells[start + (column.get(observer) ?? 0)] = colors.none
  })
  context.putImageData(image, 0, 0)
}

function toneOf(status: string, rttMs: number): Tone {
  if (status === 'alive') return rttTone(rttMs > 0 ? rttMs : null)
  return status === 'suspect' ? 'doubt' : 'blind'
}

/** `rgb(r, g, b)` as the bytes of a pixel: red first, on machines that write the low byte first, which all that run browsers do. */
function packed(color: string): number {
  const [r = 0, g = 0, b = 0] = (color.match(/[\d.]+/g) ?? []).map(Number)
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0
}
