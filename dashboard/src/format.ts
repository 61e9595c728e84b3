/** Facts as short text for people. Pure. */
const counts = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export function countText(value: number): string {
  return counts.format(value)
}

export function percentText(value: number): string {
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} %`
}

export function clockText(ms: number): string {
  return new Date(ms).toLocaleTimeString('en-GB')
}

export function preciseClockText(ms: number): string {
  return `${clockText(ms)}.${String((((ms % 1_000) + 1_000) % 1_000) | 0).padStart(3, '0')}`
}

export function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`
  const seconds = Math.round(ms / 1_000)
  if (seconds < 60) return `${ms < 10_000 ? (ms / 1_000).toFixed(1) : seconds} s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`
}

export function agoText(at: string | null, nowMs: number): string {
  const ms = at === null ? Number.NaN : Date.parse(at)
  if (Number.isNaN(ms)) return 'never'
  const agoMs = nowMs - ms
  return agoMs < 1_500 ? 'now' : `${durationText(agoMs)} ago`
}

/** When a stamp of the hybrid clock was given, by its wall part; null for what is none. */
export function hlcAt(stamp: string): string | null {
  const wallMs = /^[0-9a-f]{24}$/.test(stamp) ? Number.parseInt(stamp.slice(0, 12), 16) : Number.NaN
  return Number.isNaN(wallMs) ? null : new Date(wallMs).toISOString()
}

/** JSON in one line, cut where it is long. */
export function valueText(value: unknown, lengthMax = 160): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > lengthMax ? `${text.slice(0, lengthMax - 1)}…` : text
}

export function bytesText(bytes: number): string {
  if (bytes < 1_024) return `${bytes} B`
  return bytes < 1_048_576 ? `${(bytes / 1_024).toFixed(1)} KiB` : `${(bytes / 1_048_576).toFixed(1)} MiB`
}
