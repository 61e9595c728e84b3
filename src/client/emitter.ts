/** Typed events. A listener that throws does so outside, and the others are told all the same. */
export class Emitter<Events extends object> {
  private readonly listeners = new Map<keyof Events, Set<(event: never) => void>>()

  /** Returns the way to stop. */
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void {
    const set = this.listeners.get(type) ?? new Set()
    this.listeners.set(type, set.add(listener))
    return () => set.delete(listener)
  }

  once<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void {
    const stop = this.on(type, (event) => {
      stop()
      listener(event)
    })
    return stop
  }

  protected emit<K extends keyof Events>(type: K, event: Events[K]): void {
    for (const listener of [...(this.listeners.get(type) ?? [])]) {
      try {
        listener(event as never)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
