import { randomUUID } from 'node:crypto'
import { createServer } from 'node:net'
import { describe, it } from 'vitest'
import { nodeUri } from '../../src/core/kernel/certificate-name.js'
import { MemoryDatagramTransport } from '../../src/drivers/transport-memory/memory-datagram-transport.js'
import { MemoryFrameTransport } from '../../src/drivers/transport-memory/memory-frame-transport.js'
import { MemoryNetwork } from '../../src/drivers/transport-memory/memory-network.js'
import { UdpDatagramTransport } from '../../src/drivers/transport-tcp/datagram-transport.js'
import { TcpFrameTransport } from '../../src/drivers/transport-tcp/frame-transport.js'
import type { FrameDatagrams } from '../../src/drivers/transport-ws/frame-datagrams.js'
import {
  WsFrameTransport,
  type WsFrameTransportOptions,
} from '../../src/drivers/transport-ws/frame-transport.js'
import { makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import type { Hello } from '../../src/ports/transport.js'
import { describeDatagramTransportContract } from '../../src/testing/datagram-contract.js'
import { describeFrameTransportContract } from '../../src/testing/transport-contract.js'
import { contractHello } from '../../src/testing/transport-contract-kit.js'
import { HttpProxy } from './http-proxy.js'
import { boundPort } from './kit.js'

const runner = { describe, it }
const cookies = [Buffer.from('a cookie for tests')]
async function emptyAddress(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return `127.0.0.1:${port}`
}

const loopback = { host: '127.0.0.1', port: 0, cookies }

describeFrameTransportContract(
  'the memory network',
  async () => {
    const network = new MemoryNetwork()
    return {
      make: (limits) => new MemoryFrameTransport({ network, ...limits }),
      emptyAddress: async () => 'memory:nobody',
      end: async () => undefined,
    }
  },
  runner,
)

describeFrameTransportContract(
  'TCP',
  async () => ({
    make: (limits) => new TcpFrameTransport({ ...loopback, ...limits }),
    emptyAddress,
    end: async () => undefined,
  }),
  runner,
)

/** Each node has a certificate of its own from one authority, which is all that these may notice. */
const authority = await makeAuthority('c', 10)
async function certificate(cluster: string, id: string) {
  const made = await makeLeaf(authority, {
    name: id,
    uri: nodeUri(cluster, id),
    hosts: [],
    isServer: true,
    days: 1,
  })
  return { ca: authority.cert, ...made }
}
const nobody = await certificate('c', 'x')
class CertifiedTransport extends TcpFrameTransport {
  override async open(hello: Omit<Hello, 'address'>) {
    this.rekey({ cookies: [], certificate: await certificate(hello.clusterName, hello.nodeId) })
    return super.open(hello)
  }
}
describeFrameTransportContract(
  'TCP with certificates',
  async () => ({
    make: (limits) => new CertifiedTransport({ ...loopback, cookies: [], certificate: nobody, ...limits }),
    emptyAddress,
    end: async () => undefined,
  }),
  runner,
)

const webSocket = { ...loopback, door: 'mesh', isSecure: false } as const

describeFrameTransportContract(
  'WebSockets',
  async () => ({
    make: (limits) => new WsFrameTransport({ ...webSocket, ...limits }),
    emptyAddress,
    end: async () => undefined,
  }),
  runner,
)

class CertifiedWebSockets extends WsFrameTransport {
  override async open(hello: Omit<Hello, 'address'>) {
    this.rekey({ cookies: [], certificate: await certificate(hello.clusterName, hello.nodeId) })
    return super.open(hello)
  }
}
describeFrameTransportContract(
  'WebSockets with certificates',
  async () => ({
    make: (limits) => new CertifiedWebSockets({ ...webSocket, cookies: [], certificate: nobody, ...limits }),
    emptyAddress,
    end: async () => undefined,
  }),
  runner,
)

/** Each node behind a proxy of its own, which ends HTTPS. */
const site = await makeLeaf(authority, {
  name: 'proxy',
  uri: 'urn:proxy',
  hosts: ['127.0.0.1'],
  isServer: true,
  days: 1,
})
class ProxiedWebSockets extends WsFrameTransport {
  private readonly behind: { port: number }

  constructor(options: WsFrameTransportOptions, proxy: HttpProxy, behind: { port: number }) {
    super({ ...options, advertisePort: proxy.port })
    this.behind = behind
  }

  override async open(hello: Omit<Hello, 'address'>) {
    const address = await super.open(hello)
    this.behind.port = boundPort(this)
    return address
  }
}
describeFrameTransportContract(
  'WebSockets through proxies that end HTTPS',
  async () => {
    const proxies = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const behind = { port: 0 }
        const proxy = await HttpProxy.open({ route: () => behind.port, https: site })
        return { proxy, behind }
      }),
    )
    let used = 0
    return {
      make: (limits) => {
        const { proxy, behind } = proxies[used++] as (typeof proxies)[number]
        const options = { ...webSocket, isSecure: true, authorities: [authority.cert], ...limits }
        return new ProxiedWebSockets(options, proxy, behind)
      },
      emptyAddress,
      end: async () => {
        for (const { proxy } of proxies) await proxy.close()
      },
    }
  },
  runner,
)

describeDatagramTransportContract(
  'the memory network',
  async () => {
    const network = new MemoryNetwork()
    return { make: () => new MemoryDatagramTransport({ network }), end: async () => undefined }
  },
  runner,
)

describeDatagramTransportContract(
  'UDP',
  async () => ({ make: () => new UdpDatagramTransport(loopback), end: async () => undefined }),
  runner,
)

/** Its frames are opened and closed with it: the contract knows datagrams alone. */
function webSocketDatagrams(): FrameDatagrams {
  const transport = new WsFrameTransport({ ...webSocket, door: 'control' })
  const { datagrams } = transport
  const open = datagrams.open.bind(datagrams)
  const close = datagrams.close.bind(datagrams)
  return Object.assign(datagrams, {
    open: async () => {
      await transport.open(contractHello(randomUUID()))
      return await open()
    },
    close: async () => {
      await close()
      await transport.close({ deadlineMs: 200 })
    },
  })
}
describeDatagramTransportContract(
  'WebSockets',
  async () => ({ make: webSocketDatagrams, end: async () => undefined }),
  runner,
)
