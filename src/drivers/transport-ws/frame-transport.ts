/** Frames over WebSockets, for networks where only HTTP passes. What a connection is and how they are pooled: `engines/mesh`. */
import type { Address } from '../../core/kernel/brand.js'
import type { MeshTransportOptions } from '../../engines/mesh/mesh-options.js'
import { MeshTransport } from '../../engines/mesh/mesh-transport.js'
import type { FrameHandler } from '../../ports/transport.js'
import { datagramFrame, FrameDatagrams } from './frame-datagrams.js'
import { WsCarrier } from './ws-carrier.js'
import type { DoorName } from './ws-door.js'

export interface WsFrameTransportOptions extends MeshTransportOptions {
  /** Which of a node's two doors this is; a dial goes to the same one of the other node. */
  readonly door: DoorName
  /** HTTPS to other nodes: proxies in front of them end it. This end itself always listens for HTTP. */
  readonly isSecure: boolean
  /** Authorities that the certificates of those proxies may come from, in PEM. Default: the well-known ones, and those of NODE_EXTRA_CA_CERTS. */
  readonly authorities?: readonly string[]
}

export class WsFrameTransport extends MeshTransport {
  /** There is no UDP where this is used: datagrams travel on the same connections. */
  readonly datagrams: FrameDatagrams
  private readonly other: { address: Address | undefined }

  /** Throws `bad_cookie` without a cookie. */
  constructor(options: WsFrameTransportOptions) {
    const other: { address: Address | undefined } = { address: undefined }
    const { door, isSecure, authorities } = options
    const carrier = new WsCarrier({
      door,
      isSecure,
      ...(authorities === undefined ? {} : { authorities }),
      otherDoor: () => other.address,
    })
    super(options, carrier)
    this.other = other
    this.datagrams = new FrameDatagrams(this)
    this.onFrame(() => undefined)
  }

  override onFrame(handler: FrameHandler): void {
    super.onFrame((frame) => {
      if (frame.type === datagramFrame) this.datagrams.receive(frame.body, frame.from.address)
      else handler(frame)
    })
  }

  /** Where this node's other door is: who asks this one for it is sent there. */
  leadTo(otherDoor: Address): void {
    this.other.address = otherDoor
  }
}
