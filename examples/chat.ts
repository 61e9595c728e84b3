/**
 * A chat on two nodes: clients on either hear each other, and a client whose node goes is on the other one a moment later, with all it missed.
 *
 *   npx tsx examples/chat.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode } from 'skein'
import { SkeinClient } from 'skein/client'

interface Line {
  readonly text: string
}

const dir = mkdtempSync(join(tmpdir(), 'skein-chat-'))
const start = (nodeId: string, peers: string[]) =>
  createNode({
    nodeId,
    peers,
    dataDir: join(dir, nodeId),
    port: 0,
    peerPort: 0,
    preset: 'local',
    // What is said in these rooms is kept, and given to whoever comes back.
    roomHistory: ['chat/'],
    logLevel: 'error',
  })
const one = await start('one', [])
const two = await start('two', [one.self.peerAddress])

function enter(user: string, address: string): SkeinClient {
  const client = new SkeinClient({ addresses: [address], user })
  client.on('message', ({ from, data }) =>
    console.log(`${user} on ${client.node} hears ${from.user}: ${(data as Line).text}`),
  )
  client.on('migrate', ({ reason }) => console.log(`${user} is told to go: the node is ${reason}`))
  return client
}

const alice = enter('alice', one.self.httpAddress)
const bob = enter('bob', two.self.httpAddress)
for (const client of [alice, bob]) await client.join('chat/lobby')
const heard = (client: SkeinClient, text: string): Promise<void> =>
  new Promise((done) => {
    const stop = client.on('message', ({ data }) => {
      if ((data as Line).text !== text) return
      stop()
      done()
    })
  })

const hello = heard(bob, 'hello')
await alice.broadcast('chat/lobby', { text: 'hello' })
await hello
// Who is where every node knows a moment later.
while (two.rooms.list('chat/')[0]?.clients !== 2) await new Promise((wait) => setTimeout(wait, 20))
const { members } = await bob.presence('chat/lobby')
console.log(`in the lobby: ${members.map(({ user, node }) => `${user} (${node})`).join(', ')}`)

// The node that bob is on goes; he does not notice more than that.
const late = heard(bob, 'still there?')
await two.stop()
await alice.broadcast('chat/lobby', { text: 'still there?' })
await late
console.log(`bob is on ${bob.node}`)
alice.close()
bob.close()
await one.stop()
rmSync(dir, { recursive: true, force: true })
process.exit(0)
