/** What `--print-config` shows: every value and where it came from, secrets hidden. */
import type { Setting } from './resolve.js'

export interface SettingRow {
  readonly key: string
  /** JSON, or null when there is none. */
  readonly value: unknown
  readonly source: string
}

export function settingRows(settings: readonly Setting[]): readonly SettingRow[] {
  return settings.map(({ option, value, source }) => ({
    key: option.key,
    value: value === undefined ? null : option.isSecret === true ? '(hidden)' : value,
    source,
  }))
}
