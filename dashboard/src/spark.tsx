/** A curve without axes, as wide as a word: how one figure of a node went lately. */
import type { Curve } from './samples.js'

const pointsMax = 60
const widthPx = 64
const heightPx = 16

/** `top`: what stands at the upper edge, at least. */
export function Spark({ curve, top }: { readonly curve: Curve | undefined; readonly top: number }) {
  const values = curve?.slice(-pointsMax) ?? []
  const highest = values.reduce<number>((most, each) => Math.max(most, each ?? 0), top)
  const points = values.flatMap((each, at) =>
    each === null
      ? []
      : [
          `${((at + pointsMax - values.length) / (pointsMax - 1)) * widthPx},${heightPx - 1 - (each / highest) * (heightPx - 2)}`,
        ],
  )
  return (
    <svg
      class="spark"
      width={widthPx}
      height={heightPx}
      viewBox={`0 0 ${widthPx} ${heightPx}`}
      aria-hidden="true"
    >
      {points.length < 2 ? null : <polyline points={points.join(' ')} />}
    </svg>
  )
}
