/** What `--print-config` shows: every value and where it came from, secrets hidden. */
import type { Option } from './options.js'
import type { Setting } from './resolve.js'
import { withoutPassword } from './value.js'

export interface SettingRow {
  readonly key: string
  /** JSON, or null when there is none. */
  readonly value: unknown
  readonly source: string
}

export function settingRows(settings: readonly Setting[]): readonly SettingRow[] {
  return settings.map(({ option, value, source }) => ({
    key: option.key,
    value: visible(option, value),
    source,
  }))
}

function visible(option: Option, value: unknown): unknown {
  if (value === undefined) return null
  if (option.isSecret === true) return '(hidden)'
  return typeof value === 'string' ? withoutPassword(value) : value
}
