/** So many at a time; the others wait in order. */
export class Turns {
  private readonly most: number
  private under = 0
  private readonly waiting: (() => void)[] = []

  constructor(most: number) {
    this.most = most
  }

  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.under >= this.most) await new Promise<void>((resolve) => this.waiting.push(resolve))
    else this.under++
    try {
      return await work()
    } finally {
      const next = this.waiting.shift()
      if (next === undefined) this.under--
      else next()
    }
  }
}
