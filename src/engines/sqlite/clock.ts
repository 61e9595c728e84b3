/**
 * The host's monotonic clock: the same number in every process and thread of one boot (CLOCK_MONOTONIC), never set
 * back, never compared across boots or time namespaces (see `host-scope.ts`). `performance.now` has another origin
 * in each thread and must not be used for anything shared.
 */

/** Milliseconds since an arbitrary point at or before boot, with a fraction. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
