/**
 * This node's own etcd member: the command line, and the process. Its addresses follow from the node's (`settings.ts`); with
 * certificates, clients and members must show one of the same authority.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Certificates } from './certificates.js'
import type { Home } from './home.js'
import { EtcdProcess, type EtcdProcessOptions } from './process.js'
import { etcdAddress, hostPort, type ManagedSettings, portOffsets } from './settings.js'

/** Failures of a disk or a network shorter than the election time change no leader. The least lease TTL is 1.5 times as much. */
const heartbeatMs = 100
const electionMs = 1000
const quotaBytes = 268_435_456

export interface MemberPlan {
  readonly binary: string
  readonly name: string
  /** `name=peerUrl` of all members, this one among them. Of no effect once there are data. */
  readonly initialCluster: readonly string[]
  readonly isNew: boolean
  /** Distinguishes clusters founded at the same addresses. */
  readonly token: string
}

export function memberUrls(address: string, isSecure: boolean): { clientUrl: string; peerUrl: string } {
  const scheme = isSecure ? 'https' : 'http'
  return {
    clientUrl: `${scheme}://${etcdAddress(address, 'client')}`,
    peerUrl: `${scheme}://${etcdAddress(address, 'peer')}`,
  }
}

/** Only the advertised address is listened on; etcd wants it as a number. */
export async function listenHost({ bindHost, advertise }: ManagedSettings): Promise<string> {
  const plain = (host: string) => host.replace(/^\[|\]$/g, '')
  const isWildcard = ['0.0.0.0', '::', ''].includes(plain(bindHost))
  const host = plain(isWildcard ? advertise.host : bindHost)
  return isIP(host) > 0 ? host : (await lookup(host)).address
}

export function makeMember(
  settings: ManagedSettings,
  home: Home,
  host: string,
  plan: MemberPlan,
  certificates: Certificates | undefined,
  onExit: EtcdProcessOptions['onExit'],
): EtcdProcess {
  const { clientUrl, peerUrl } = memberUrls(settings.address, certificates !== undefined)
  const scheme = certificates === undefined ? 'http' : 'https'
  const listen = (port: number) => `${scheme}://${hostPort(host, port)}`
  const { port } = settings.advertise
  const args = [
    `--name=${plan.name}`,
    `--data-dir=${home.data}`,
    `--listen-client-urls=${listen(port + portOffsets.client)}`,
    `--advertise-client-urls=${clientUrl}`,
    `--listen-peer-urls=${listen(port + portOffsets.peer)}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=${plan.initialCluster.join(',')}`,
    `--initial-cluster-state=${plan.isNew ? 'new' : 'existing'}`,
    `--initial-cluster-token=${plan.token}`,
    `--heartbeat-interval=${heartbeatMs}`,
    `--election-timeout=${electionMs}`,
    '--pre-vote',
    '--auto-compaction-mode=periodic',
    '--auto-compaction-retention=10m',
    `--quota-backend-bytes=${quotaBytes}`,
    '--experimental-watch-progress-notify-interval=10s',
    '--logger=zap',
    '--log-level=warn',
    '--log-outputs=stderr',
    ...(certificates === undefined ? [] : secureArgs(certificates)),
  ]
  return new EtcdProcess({ binary: plan.binary, dataDir: home.data, args, onExit })
}

function secureArgs({ caFile, certFile, keyFile }: Certificates): string[] {
  return [
    `--cert-file=${certFile}`,
    `--key-file=${keyFile}`,
    `--trusted-ca-file=${caFile}`,
    '--client-cert-auth',
    `--peer-cert-file=${certFile}`,
    `--peer-key-file=${keyFile}`,
    `--peer-trusted-ca-file=${caFile}`,
    '--peer-client-cert-auth',
  ]
}
