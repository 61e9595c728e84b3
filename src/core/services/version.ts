/** Versions of services: numbers with dots, `2` or `2.1`. Whoever asks for `2` is served by `2`, `2.0` and `2.1.3`, not by `20`. */

export function isVersion(text: string): boolean {
  return /^\d{1,9}(\.\d{1,9}){0,3}$/.test(text)
}

export function satisfies(offered: string, wanted: string): boolean {
  return offered === wanted || offered.startsWith(`${wanted}.`)
}

/** Negative when `a` is lower. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.')
  const right = b.split('.')
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = Number(left[i] ?? 0) - Number(right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
