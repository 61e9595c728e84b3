import { createServer } from 'node:net'
import { describe, it } from 'vitest'
import { MemoryDatagramTransport } from '../../src/drivers/transport-memory/memory-datagram-transport.js'
import { MemoryFrameTransport } from '../../src/drivers/transport-memory/memory-frame-transport.js'
import { MemoryNetwork } from '../../src/drivers/transport-memory/memory-network.js'
import { UdpDatagramTransport } from '../../src/drivers/transport-tcp/datagram-transport.js'
import { TcpFrameTransport } from '../../src/drivers/transport-tcp/frame-transport.js'
import { describeDatagramTransportContract } from '../../src/testing/datagram-contract.js'
import { describeFrameTransportContract } from '../../src/testing/transport-contract.js'

const runner = { describe, it }
const cookies = [Buffer.from('a cookie for tests')]
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
    async emptyAddress() {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as { port: number }
      await new Promise((resolve) => server.close(resolve))
      return `127.0.0.1:${port}`
    },
    end: async () => undefined,
  }),
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
