/** TCP as what carries the bytes between nodes. */
import { type AddressInfo, createServer, type Server } from 'node:net'
import { connect } from 'node:tls'
import { bindError } from '../../engines/mesh/address.js'
import type { Carrier, DialFailure, Door, DoorEvents, DoorLimits } from '../../engines/mesh/carrier.js'

export const tcpCarrier: Carrier = {
  reach({ host, port }, tls, { reached }) {
    reached(connect({ host, port, ...tls }))
    return () => undefined
  },
  makeDoor: (limits, events) => new TcpDoor(limits, events),
  explain(address, { code }): DialFailure | undefined {
    return code === 'ECONNREFUSED' ? { type: 'refused', detail: `nobody listens at ${address}` } : undefined
  },
}

class TcpDoor implements Door {
  private readonly server: Server
  private readonly events: DoorEvents

  constructor({ connectionsMax }: DoorLimits, events: DoorEvents) {
    this.events = events
    this.server = createServer({ noDelay: true }, (socket) => {
      const remote = { host: socket.remoteAddress ?? 'unknown', port: socket.remotePort ?? 0 }
      if (events.admit(socket)) events.deliver(socket, remote)
    })
    this.server.maxConnections = connectionsMax
    this.server.on('drop', () => events.dropped())
  }

  async open(host: string, port: number): Promise<AddressInfo> {
    const { server } = this
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error): void => reject(bindError(error, 'TCP', host, port))
      server.once('error', onError)
      server.listen(port, host, () => {
        server.off('error', onError)
        resolve()
      })
    })
    server.on('error', ({ message }) => this.events.note('transport.server_error', { detail: message }))
    return server.address() as AddressInfo
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.server.close(() => resolve()))
  }
}
