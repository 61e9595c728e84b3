/** What this process takes of its host, as Node.js and `/proc` tell it. */
import { readdir, readFile } from 'node:fs/promises'
import { constants, PerformanceObserver } from 'node:perf_hooks'
import { Histogram } from '../../core/kernel/histogram.js'

const kinds: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
}

/** Durations of collections in this thread, by kind. */
export class GarbageMeter {
  private readonly byKind = new Map<string, Histogram>()
  private readonly observer: PerformanceObserver

  constructor(bounds: readonly number[]) {
    for (const kind of Object.values(kinds)) this.byKind.set(kind, new Histogram(bounds))
    this.observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { detail } = entry as unknown as { readonly detail: { readonly kind: number } }
        this.byKind.get(kinds[detail.kind] ?? '')?.observe(entry.duration / 1_000)
      }
    })
    this.observer.observe({ entryTypes: ['gc'] })
  }

  histograms(): ReadonlyMap<string, Histogram> {
    return this.byKind
  }

  close(): void {
    this.observer.disconnect()
  }
}

export interface Descriptors {
  readonly open: number
  readonly max: number
}

/** Undefined where there is no `/proc`. */
export async function readDescriptors(): Promise<Descriptors | undefined> {
  try {
    const [open, limits] = await Promise.all([
      readdir('/proc/self/fd'),
      readFile('/proc/self/limits', 'utf8'),
    ])
    const max = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
    return max === undefined ? undefined : { open: open.length, max: Number(max) }
  } catch {
    return undefined
  }
}
