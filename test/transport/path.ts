/** A way between two nodes that can go bad. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Forwards to a port. `swallow` makes those connections that are open lose everything and live on; new ones work. */
export class Path {
  readonly port: number
  opened = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  private constructor(server: Server, toPort: () => number) {
    this.server = server
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (near) => {
      this.opened++
      const far = connect(toPort(), '127.0.0.1')
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.sockets.add(from)
        from.on('error', () => to.destroy())
        from.on('close', () => to.destroy())
        from.pipe(to)
      }
    })
  }

  static async open(toPort: () => number): Promise<Path> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Path(server, toPort)
  }

  swallow(): void {
    for (const socket of this.sockets) socket.unpipe().resume()
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
  }
}
