/**
 * The packets that went through this node, for clients that lose their connection for a moment. Every server numbers what it sends, and sends it in
 * order; so "how far I have heard of each server" says exactly what somebody else has heard and I have not.
 */
export interface LoggedPacket {
  /** `<server>.<number>`: what the client shows as the last it got. */
  readonly offset: string
  readonly data: readonly unknown[]
  readonly rooms: readonly string[]
  readonly except: readonly string[]
  readonly atMs: number
}

export interface Missed {
  readonly packets: readonly LoggedPacket[]
  /** Of each server, the last number that was heard. */
  readonly heard: Readonly<Record<string, number>>
}

const packetsMax = 50_000
/** A server that was started anew is another one; of those that said nothing for longest nothing is left to be heard. */
const serversMax = 1_000

export class PacketLog {
  private readonly keptMs: number
  private packets: LoggedPacket[] = []
  private readonly heard = new Map<string, number>()

  constructor(keptMs: number) {
    this.keptMs = keptMs
  }

  add(packet: LoggedPacket): void {
    this.packets.push(packet)
    const { server, number } = partsOf(packet.offset)
    this.heard.delete(server)
    this.heard.set(server, number)
    if (this.heard.size > serversMax) {
      const [oldest] = this.heard.keys()
      if (oldest !== undefined) this.heard.delete(oldest)
    }
    if (this.packets.length > packetsMax) this.packets = this.packets.slice(packetsMax / 10)
  }

  /** Undefined when that packet is not here (any more): then nobody can say what came after it. */
  after(offset: string): Missed | undefined {
    const at = this.packets.findLastIndex((each) => each.offset === offset)
    return at === -1
      ? undefined
      : { packets: this.packets.slice(at + 1), heard: Object.fromEntries(this.heard) }
  }

  /** What is here and was not heard there. */
  beyond(heard: Readonly<Record<string, number>>): LoggedPacket[] {
    return this.packets.filter(({ offset }) => {
      const { server, number } = partsOf(offset)
      return number > (heard[server] ?? 0)
    })
  }

  sweep(nowMs: number): void {
    const from = this.packets.findIndex(({ atMs }) => atMs + this.keptMs > nowMs)
    this.packets = from === -1 ? [] : this.packets.slice(from)
  }
}

function partsOf(offset: string): { readonly server: string; readonly number: number } {
  const dot = offset.lastIndexOf('.')
  return { server: offset.slice(0, dot), number: Number(offset.slice(dot + 1)) }
}
