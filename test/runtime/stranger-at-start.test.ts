import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, expect, it } from 'vitest'
import { SqliteStore } from '../../src/drivers/store-sqlite/sqlite-store.js'
import { cookieKeys, pskIdentity } from '../../src/engines/mesh/keys.js'
import { createNode } from '../../src/runtime/create-node.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-stranger-'))
afterEach(() => rmSync(dir, { recursive: true, force: true }))

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((up) => server.listen(0, '127.0.0.1', up))
  const { port } = server.address() as AddressInfo
  await new Promise((closed) => server.close(closed))
  return port
}

/** Comes with a cookie that is not the cluster's. Resolves when it was thrown out; false when nobody listened. */
function knock(port: number): Promise<boolean> {
  const key = cookieKeys([Buffer.from('a cookie of somebody else')])[0]!
  const socket = connect({
    port,
    host: '127.0.0.1',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: key.psk, identity: pskIdentity(key, 'stranger') }),
  })
  return new Promise((done) => {
    let wasRefused = false
    socket.on('error', (error: NodeJS.ErrnoException) => {
      wasRefused = error.code === 'ECONNREFUSED'
    })
    socket.once('close', () => done(!wasRefused))
  })
}

it('a node starts though strangers with another cookie come while it does', async () => {
  const [peerPort, nobody] = [await freePort(), await freePort()]
  // It waits for the peer that is not there before it goes on alone.
  const starting = createNode({
    nodeId: 'node-1',
    dataDir: join(dir, 'node-1'),
    peerPort,
    peers: [`127.0.0.1:${nobody}`],
    cookie: 'the cookie of this cluster, which is long enough',
    threads: 'inline',
    http: false,
    preset: 'local',
    logLevel: 'silent',
  })
  let isOver = false
  let knocked = 0
  const stranger = (async () => {
    while (!isOver) if (await knock(peerPort)) knocked++
  })()
  try {
    const node = await starting
    expect(knocked).toBeGreaterThan(0)
    await node.stop()
  } finally {
    isOver = true
    await stranger
  }
})

/** All keys that a store was ever given, also those that are gone again. */
async function everWritten(path: string): Promise<string> {
  const store = new SqliteStore({ path })
  await store.open()
  try {
    const { rev } = await store.get('x')
    const keys: string[] = []
    for await (const batch of store.watch('', { fromRev: 1n, signal: AbortSignal.timeout(10_000) })) {
      for (const event of batch.events) keys.push(event.type === 'put' ? event.kv.key : event.key)
      if (batch.rev >= rev) break
    }
    return keys.join()
  } finally {
    await store.close()
  }
}

it('a node that is turned away has written nothing where the others would see it', async () => {
  const at = (nodeId: string, cookie: string, peers: string[]) =>
    createNode({
      ...{ nodeId, cookie, peers, dataDir: join(dir, nodeId), peerPort: 0, threads: 'inline', http: false },
      ...{ preset: 'local', logLevel: 'silent' },
    })
  const node = await at('node-1', 'the cookie of this cluster, which is long enough', [])
  try {
    await expect(
      at('late', 'a cookie that was theirs until last month', [node.self.peerAddress]),
    ).rejects.toMatchObject({
      code: 'bad_cookie',
    })
    expect(node.members.list().map(({ id }) => id)).toEqual(['node-1'])
    expect(await everWritten(join(dir, 'store.db'))).not.toContain('late')
  } finally {
    await node.stop()
  }
})
