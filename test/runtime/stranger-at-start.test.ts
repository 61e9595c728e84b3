import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, expect, it } from 'vitest'
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
