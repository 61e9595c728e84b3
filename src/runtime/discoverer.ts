/** Looks again and again where others may be found, and hands the addresses on whenever they change. What failed once keeps what it found before. */
import type { DiscoverySource } from '../ports/discovery.js'

export interface DiscovererWorld {
  readonly sources: readonly DiscoverySource[]
  /** Addresses that need no finding. */
  readonly fixed: readonly string[]
  found(addresses: readonly string[]): void
  note(level: 'info' | 'warn', event: string, fields: Record<string, unknown>): void
}

/** Often until somebody is found, then at a walk. */
const searchEveryMs = 1_000
const refreshEveryMs = 10_000
const lookTimeoutMs = 5_000

export class Discoverer {
  private readonly world: DiscovererWorld
  private readonly bySource = new Map<string, readonly string[]>()
  private readonly troubles = new Map<string, string>()
  private readonly abort = new AbortController()
  private timer: NodeJS.Timeout | undefined
  private last = ''

  constructor(world: DiscovererWorld) {
    this.world = world
  }

  /** Everything known so far, without repetition. */
  addresses(): readonly string[] {
    return [...new Set([...this.world.fixed, ...[...this.bySource.values()].flat()])]
  }

  /** One look at every source; never rejects. */
  async look(): Promise<void> {
    await Promise.all(
      this.world.sources.map(async (source) => {
        const timeout = AbortSignal.timeout(lookTimeoutMs)
        try {
          const found = await within(source.find(AbortSignal.any([this.abort.signal, timeout])), timeout)
          this.bySource.set(source.name, found)
          if (this.troubles.delete(source.name))
            this.world.note('info', 'discovery.recovered', { source: source.name, found: found.length })
        } catch (error) {
          const detail = error instanceof Error ? error.message : String(error)
          if (this.abort.signal.aborted || this.troubles.get(source.name) === detail) return
          this.troubles.set(source.name, detail)
          const kept = this.bySource.get(source.name)?.length ?? 0
          this.world.note('warn', 'discovery.failed', { source: source.name, detail, kept })
        }
      }),
    )
    const addresses = this.addresses()
    const text = addresses.join(' ')
    if (this.abort.signal.aborted || text === this.last) return
    this.last = text
    this.world.found(addresses)
  }

  /** Keeps looking until `close`. */
  start(): void {
    if (this.world.sources.length === 0 || this.abort.signal.aborted) return
    const again = (): void => {
      const everyMs = [...this.bySource.values()].some((list) => list.length > 0)
        ? refreshEveryMs
        : searchEveryMs
      this.timer = setTimeout(() => void this.look().then(again), everyMs)
      if (this.abort.signal.aborted) clearTimeout(this.timer)
    }
    again()
  }

  close(): void {
    this.abort.abort()
    clearTimeout(this.timer)
  }
}

/** A source that overlooks its signal is not waited for. */
function within<T>(work: Promise<T>, timeout: AbortSignal): Promise<T> {
  return Promise.race([
    work,
    new Promise<never>((_, reject) => {
      timeout.addEventListener('abort', () => reject(new Error('no answer in time')), { once: true })
    }),
  ])
}
