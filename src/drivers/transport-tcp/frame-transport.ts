/** Frames over TCP connections. What a connection is and how they are pooled: `engines/mesh`. */
import type { MeshTransportOptions } from '../../engines/mesh/mesh-options.js'
import { MeshTransport } from '../../engines/mesh/mesh-transport.js'
import { tcpCarrier } from './tcp-carrier.js'

export class TcpFrameTransport extends MeshTransport {
  /** Throws `bad_cookie` without a cookie. */
  constructor(options: MeshTransportOptions) {
    super(options, tcpCarrier)
  }
}
