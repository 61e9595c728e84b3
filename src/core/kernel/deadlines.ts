/**
 * A machine's table of absolute deadlines: one timer outside, any number of named ones inside. Small (tens of
 * entries), so a scan is cheaper than a heap and easier to trust.
 */
export class Deadlines<Name extends string> {
  private readonly at = new Map<Name, number>()

  set(name: Name, atMs: number): void {
    this.at.set(name, atMs)
  }

  clear(name: Name): void {
    this.at.delete(name)
  }

  get(name: Name): number | undefined {
    return this.at.get(name)
  }

  /** Infinity when nothing is waited for. */
  nextMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const at of this.at.values()) if (at < next) next = at
    return next
  }

  /** Removes and returns what is due, earliest first. */
  due(nowMs: number): Name[] {
    const due: [Name, number][] = []
    for (const entry of this.at) if (entry[1] <= nowMs) due.push(entry)
    due.sort((x, y) => x[1] - y[1])
    for (const [name] of due) this.at.delete(name)
    return due.map(([name]) => name)
  }
}
