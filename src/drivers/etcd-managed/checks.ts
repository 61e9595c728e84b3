/**
 * What a person should know about managed etcd on this host, from the node's data directory and the programs installed; then what
 * can be seen of the cluster. Changes nothing and may run beside the node.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isSkeinError } from '../../core/kernel/error.js'
import { bad, type Check, checkEtcd, well } from '../../engines/etcd/checks.js'
import { serverName } from './certificates.js'
import { Home } from './home.js'
import { findProgram } from './process.js'
import { type ManagedSetup, managedSettings } from './settings.js'
import { snapshotsIn } from './snapshots.js'

/** Never throws. */
export async function checkManagedEtcd(setup: ManagedSetup): Promise<Check[]> {
  try {
    const settings = managedSettings(setup)
    const programs = checkPrograms(settings.binary)
    if (!existsSync(settings.home)) {
      return [
        ...programs,
        bad(
          'etcd directory',
          `${settings.home} is not there`,
          'start the node once with --store etcd+managed:',
        ),
      ]
    }
    const home = new Home(settings.home)
    const certificates = certificatesIn(join(settings.home, 'certificates'))
    const cluster =
      home.endpoints.length === 0
        ? [checkFounding(home)]
        : await checkEtcd({
            endpoints: home.endpoints,
            namespace: 'skein',
            ...(certificates === undefined ? {} : { tls: { ...certificates, serverName } }),
          })
    return [...programs, await checkSnapshots(home), ...cluster]
  } catch (error) {
    const fix = isSkeinError(error) && error.code === 'bad_config' ? 'correct --store' : 'see the message'
    return [bad('managed etcd', error instanceof Error ? error.message : String(error), fix)]
  }
}

function checkPrograms(binary: string | undefined): Check[] {
  const etcd = findProgram(binary ?? 'etcd')
  return [
    etcd === undefined
      ? bad(
          'etcd program',
          'not installed: this node uses the servers of others',
          'to give it a seat: apt-get install etcd-server',
        )
      : well('etcd program', etcd),
    findProgram('openssl') === undefined
      ? bad('openssl program', 'not installed: etcd runs on loopback only', 'apt-get install openssl')
      : well('openssl program', 'installed: etcd is protected by certificates from the cookie'),
    findProgram('setpriv') === undefined
      ? bad(
          'setpriv program',
          'not installed: an etcd outlives a node that is killed, until its next start',
          'apt-get install util-linux',
        )
      : well('setpriv program', 'installed: etcd ends with its node'),
  ]
}

function checkFounding(home: Home): Check {
  const { promise } = home
  const detail =
    promise === undefined
      ? 'this node has seen no cluster yet'
      : `this node has seen no cluster yet, and has promised that ${promise.founder} founds it`
  return bad(
    'etcd cluster',
    detail,
    'start all nodes of the group; if the founder is lost for good, remove promise.json from the etcd directory of each',
  )
}

async function checkSnapshots(home: Home): Promise<Check> {
  const newest = (await snapshotsIn(home.snapshots)).at(-1)
  if (newest !== undefined) return well('etcd snapshots', join(home.snapshots, newest))
  return home.hasData
    ? bad('etcd snapshots', 'none yet', 'the first one is taken 5 minutes after the member started')
    : well('etcd snapshots', 'none: this node has no member')
}

function certificatesIn(directory: string) {
  const at = (name: string) => join(directory, name)
  const files = { caFile: at('ca.pem'), certFile: at('cert.pem'), keyFile: at('key.pem') }
  return Object.values(files).every((file) => existsSync(file)) ? files : undefined
}
