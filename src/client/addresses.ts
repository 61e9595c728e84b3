/** Where to go next: the target of a move, then the nodes that are known, each in turn, in an order of this client's own so that not all go to one. */
export class Addresses {
  private readonly given: readonly string[]
  private readonly discover: boolean
  private readonly random: () => number
  private order: string[]

  constructor(given: readonly string[], discover: boolean, random: () => number) {
    this.given = given
    this.discover = discover
    this.random = random
    this.order = this.shuffled(given)
  }

  /** What a node said of itself and the others; their scheme is that of what was given. */
  learn(addresses: readonly string[]): void {
    if (!this.discover) return
    const isTls = this.given.some((each) => /^(https|wss):/.test(each))
    const learnt = addresses.map((each) => (isTls && !each.includes('://') ? `https://${each}` : each))
    const fresh = [...new Set([...this.given, ...learnt])].filter((each) => !this.order.includes(each))
    const known = this.order.filter((each) => this.given.includes(each) || learnt.includes(each))
    this.order = [...known, ...this.shuffled(fresh)]
  }

  /** The first is tried next. */
  next(): string {
    return this.order[0] as string
  }

  /** It did not answer, or is going. */
  failed(address: string): void {
    const rest = this.order.filter((each) => each !== address)
    if (rest.length < this.order.length) this.order = [...rest, address]
  }

  get count(): number {
    return this.order.length
  }

  private shuffled(list: readonly string[]): string[] {
    const order = [...list]
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(this.random() * (i + 1))
      const [a, b] = [order[i] as string, order[j] as string]
      order[i] = b
      order[j] = a
    }
    return order
  }
}
