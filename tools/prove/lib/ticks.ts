/** What agents noted of their own ticks, and what it says: nobody acted twice at a time, and how long each was silent after a fault. */
import { existsSync, readFileSync } from 'node:fs'

export interface Tick {
  readonly agent: string
  readonly epoch: number
  readonly node: string
  /** Monotonic time of the host, ms. */
  readonly atMs: number
}

/** In order of time. */
export function readTicks(file: string): Tick[] {
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [agent, epoch, node, atMs] = line.split(' ')
      if (agent === undefined || atMs === undefined || node === undefined) return []
      return [{ agent, epoch: Number(epoch), node, atMs: Number(atMs) }]
    })
    .sort((a, b) => a.atMs - b.atMs)
}

/** Each tick that came after one of a later epoch, or of another node under the same one. */
export function overlaps(ticks: readonly Tick[]): string[] {
  const last = new Map<string, Tick>()
  const found: string[] = []
  for (const tick of ticks) {
    const before = last.get(tick.agent)
    if (
      before !== undefined &&
      (tick.epoch < before.epoch || (tick.epoch === before.epoch && tick.node !== before.node))
    )
      found.push(
        `${tick.agent}: epoch ${tick.epoch} on ${tick.node} ticked ${(tick.atMs - before.atMs).toFixed(1)} ms after epoch ${before.epoch} on ${before.node}`,
      )
    if (before === undefined || tick.epoch >= before.epoch) last.set(tick.agent, tick)
  }
  return found
}

/** How long the longest silent of these agents was silent from then on, ms; agents without a tick after it count up to `untilMs`. */
export function longestSilence(
  ticks: readonly Tick[],
  agents: ReadonlySet<string>,
  fromMs: number,
  untilMs: number,
): { readonly ms: number; readonly agent: string } {
  const last = new Map<string, number>()
  let longest = { ms: 0, agent: '' }
  for (const name of agents) last.set(name, fromMs)
  for (const { agent, atMs } of ticks) {
    const before = last.get(agent)
    if (before === undefined || atMs < fromMs || atMs > untilMs) continue
    if (atMs - before > longest.ms) longest = { ms: atMs - before, agent }
    last.set(agent, atMs)
  }
  for (const [agent, atMs] of last) if (untilMs - atMs > longest.ms) longest = { ms: untilMs - atMs, agent }
  return longest
}
