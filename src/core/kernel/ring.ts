/** The newest `capacity` items, oldest first. For evidence, history, recent inputs: everything that must have a limit. */
export class Ring<T> {
  private readonly items: T[] = []
  private start = 0
  readonly capacity: number
  /** How many were ever pushed. */
  total = 0

  constructor(capacity: number) {
    this.capacity = capacity
  }

  /** Returns what had to go for it. */
  push(item: T): T | undefined {
    this.total++
    if (this.items.length < this.capacity) {
      this.items.push(item)
      return undefined
    }
    const oldest = this.items[this.start]
    this.items[this.start] = item
    this.start = (this.start + 1) % this.capacity
    return oldest
  }

  get size(): number {
    return this.items.length
  }

  toArray(): T[] {
    return [...this.items.slice(this.start), ...this.items.slice(0, this.start)]
  }

  last(): T | undefined {
    return this.items.length === 0
      ? undefined
      : this.items[(this.start + this.items.length - 1) % this.items.length]
  }
}
