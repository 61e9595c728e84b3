/** Opens what nodes say to each other to somebody who holds the keys of all of them. */
import { nodeIn } from '../../../src/core/kernel/certificate-name.js'
import { cookieKeys, readPskIdentity } from '../../../src/engines/mesh/keys.js'
import { clusterName, type GuardedCluster } from './guarded-cluster.js'
import type { TapKeys } from './wiretap.js'

const ciphers = 'TLS_AES_128_GCM_SHA256'
/** Not the host's name but the node's counts. */
const checkServerIdentity = (): undefined => undefined

export function tapKeys(cluster: () => GuardedCluster): TapKeys {
  return {
    server: (to) => (cluster().proof === 'cookie' ? cookie().server() : certificates().server(to.id)),
    onward: (socket) =>
      cluster().proof === 'cookie' ? cookie().onward(socket) : certificates().onward(socket),
  }

  function cookie() {
    const key = cookieKeys([Buffer.from(cluster().cookies()[0] as string)])[0]!
    return {
      server: () => ({
        ciphers,
        pskCallback: (socket: object, identity: string) => {
          identities.set(socket, identity)
          return readPskIdentity(identity).keyId === key.id ? key.psk : null
        },
      }),
      onward: (socket: object) => ({
        ciphers,
        checkServerIdentity,
        pskCallback: () => ({ psk: key.psk, identity: identities.get(socket) ?? '' }),
      }),
    }
  }

  function certificates() {
    return {
      server: (id: string) => ({
        ...cluster().certificateOf(id),
        requestCert: true,
        rejectUnauthorized: false,
      }),
      onward: (socket: import('node:tls').TLSSocket) => {
        const name = nodeIn(socket.getPeerX509Certificate()?.subjectAltName, clusterName)
        if (name === undefined) return undefined
        return { ...cluster().certificateOf(name.nodeId), checkServerIdentity }
      },
    }
  }
}

/** Who dialled, as it said so itself. */
const identities = new WeakMap<object, string>()
