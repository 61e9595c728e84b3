/** Under the timeline: the moment that is looked at. By hand, by keyboard, from one event to the next, or running. */
import { useEffect, useState } from 'preact/hooks'
import { clockText, durationText } from './format.js'

const stepMs = 500
const playEveryMs = 250
const settleMs = 40
/** Of the past, in one second of playing. */
const playFactor = 10

interface Props {
  readonly fromMs: number
  readonly nowMs: number
  /** Null for now. */
  readonly atMs: number | null
  /** When something happened, ascending. */
  readonly momentsMs: readonly number[]
  /** Of the axis above. */
  readonly leftPx: number
  readonly rightPx: number
  readonly onAt: (atMs: number | null) => void
}

export function Scrubber({ fromMs, nowMs, atMs, momentsMs, leftPx, rightPx, onAt }: Props) {
  const [isPlaying, setIsPlaying] = useState(false)
  /** Where the slider is, before the page has gone there: many steps in a row are one to the page. */
  const [slid, setSlid] = useState<number | null>(null)
  useEffect(() => {
    if (slid === null) return
    const timer = setTimeout(() => {
      setSlid(null)
      onAt(slid >= nowMs - stepMs / 2 ? null : slid)
    }, settleMs)
    return () => clearTimeout(timer)
  }, [slid])
  const at = slid ?? atMs ?? nowMs
  const before = momentsMs.findLast((each) => each < at - 1)
  const after = atMs === null ? undefined : momentsMs.find((each) => each > at + 1)
  useEffect(() => {
    if (!isPlaying || atMs === null) return
    const timer = setTimeout(() => {
      const next = atMs + playEveryMs * playFactor
      onAt(next >= nowMs ? null : next)
      if (next >= nowMs) setIsPlaying(false)
    }, playEveryMs)
    return () => clearTimeout(timer)
  }, [isPlaying, atMs])
  const play = (): void => {
    if (!isPlaying && atMs === null) onAt(momentsMs.find((each) => each >= fromMs) ?? fromMs)
    setIsPlaying(!isPlaying)
  }
  const isNow = at >= nowMs - stepMs / 2
  const said = isNow ? 'now' : `${clockText(at)}, ${durationText(nowMs - at)} ago`
  return (
    <div class="scrubber">
      <input
        type="range"
        aria-label="Moment that is looked at"
        aria-valuetext={said}
        style={{ marginLeft: `${leftPx}px`, width: `calc(100% - ${leftPx + rightPx}px)` }}
        // A whole number of steps before now, which is then one of them.
        min={nowMs - Math.ceil((nowMs - fromMs) / stepMs) * stepMs}
        max={nowMs}
        step={stepMs}
        value={at}
        onInput={({ currentTarget: { valueAsNumber } }) => setSlid(valueAsNumber)}
      />
      <div class="bar">
        <button type="button" disabled={before === undefined} onClick={() => onAt(before ?? null)}>
          ◂ Event before
        </button>
        <button type="button" onClick={play}>
          {isPlaying && atMs !== null ? '‖ Halt' : '▸ Play'}
        </button>
        <button type="button" disabled={after === undefined} onClick={() => onAt(after ?? null)}>
          Event after ▸
        </button>
        <output class={isNow ? 'aside' : 'replayed'} data-testid="moment">
          {said}
        </output>
        <button type="button" class="primary" disabled={atMs === null} onClick={() => onAt(null)}>
          Back to live
        </button>
      </div>
    </div>
  )
}
