/**
 * A Socket.IO app on two servers, moved over from Redis by changing one line; no broker runs beside it.
 *
 *   npx tsx examples/socket-io.ts
 */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, type SkeinNode } from 'skein'
import { createAdapter } from 'skein/socket.io'
import { Server } from 'socket.io'
import { io as connect } from 'socket.io-client'

const dir = mkdtempSync(join(tmpdir(), 'skein-socket-io-'))
const start = (nodeId: string, peers: string[]) =>
  createNode({ nodeId, peers, dataDir: join(dir, nodeId), http: false, peerPort: 0, logLevel: 'error' })

/** The app as it was, but for the line with the adapter. */
async function serve(node: SkeinNode): Promise<{ io: Server; url: string }> {
  const http = createServer()
  const io = new Server(http)
  // Before: io.adapter(createAdapter(redisClient, redisClient.duplicate()))
  io.adapter(createAdapter(node))
  io.on('connection', (socket) => {
    socket.on('enter', async (room: string, done: () => void) => {
      await socket.join(room)
      done()
    })
    socket.on('say', (room: string, text: string) => io.to(room).emit('said', text))
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return { io, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` }
}

const one = await start('one', [])
const two = await start('two', [one.self.peerAddress])
const [here, there] = [await serve(one), await serve(two)]
// A server knows of the others once it has heard of them.
while ((await here.io.of('/').adapter.serverCount()) < 2) await new Promise((wait) => setTimeout(wait, 20))

const alice = connect(here.url)
const bob = connect(there.url)
for (const socket of [alice, bob]) await socket.emitWithAck('enter', 'lobby')
const heard = new Promise<string>((done) => bob.once('said', done))
alice.emit('say', 'lobby', 'hello from the other server')
console.log(`bob hears: ${await heard}`)
console.log(`${(await here.io.in('lobby').fetchSockets()).length} sockets in the lobby, on two servers`)

for (const socket of [alice, bob]) socket.close()
for (const { io } of [here, there]) await io.close()
await two.stop()
await one.stop()
rmSync(dir, { recursive: true, force: true })
process.exit(0)
