/** How many connections one address may hold open, so that a single stranger cannot take them all. Below HTTP: nothing has been read yet. */
import type { Server, Socket } from 'node:net'
import { isLoopback, networkOf } from './security.js'

/** Loopback is where proxies and load generators live: bounded by the server's own limit only. */
export function limitConnections(server: Server, perAddressMax: number): void {
  const open = new Map<string, number>()
  server.on('connection', (socket: Socket) => {
    const { remoteAddress = '' } = socket
    if (isLoopback(remoteAddress)) return
    const address = networkOf(remoteAddress)
    const count = (open.get(address) ?? 0) + 1
    if (count > perAddressMax) {
      socket.destroy()
      return
    }
    open.set(address, count)
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1
      if (left > 0) open.set(address, left)
      else open.delete(address)
    })
  })
}
