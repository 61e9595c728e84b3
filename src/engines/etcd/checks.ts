/**
 * What is to be seen of an etcd cluster from outside, as a list of findings for a person: is it reachable, of a known version, with a
 * leader and a quorum, are all its members up, is it full. Each finding that is not well says what to do.
 */
import { isSkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../sqlite/clock.js'
import { EtcdClient } from './client.js'
import { calls, type Member, type StatusResponse, toBig, toHex } from './codec.js'
import type { EtcdTarget } from './url.js'

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** What was found. */
  readonly detail: string
  /** What to do about it; empty when it is well. */
  readonly fix: string
}

const timeoutMs = 3000
const statusTimeoutMs = 1000
const alarmNames = ['none', 'NOSPACE', 'CORRUPT']

/** Never throws; what cannot be found out is a check that is not ok. Ends within about 10 s. */
export async function checkEtcd(target: EtcdTarget): Promise<Check[]> {
  let client: EtcdClient
  try {
    client = await EtcdClient.create({
      target,
      probe: { key: Buffer.from(target.namespace), countOnly: true },
    })
  } catch (error) {
    return [bad('etcd files', messageOf(error), 'check the files named in the URL and their permissions')]
  }
  try {
    const quorum = await checkQuorum(client, target)
    if (!quorum.ok) return [quorum, ...(await checkEndpoints(client, target))]
    const { members } = await client.run('listing members', 'read', { timeoutMs }, (a) =>
      a.read(calls.memberList, {}),
    )
    return [quorum, ...(await checkMembers(client, members)), await checkAlarms(client)]
  } catch (error) {
    return [bad('etcd', messageOf(error), 'run this again; if it stays, look at the log of the etcd servers')]
  } finally {
    client.close()
  }
}

async function checkQuorum(client: EtcdClient, target: EtcdTarget): Promise<Check> {
  const startedMs = monotonicMs()
  try {
    await client.run('reading', 'read', { timeoutMs }, (attempt) =>
      attempt.read(calls.range, { key: Buffer.from(`${target.namespace}/:identity`), countOnly: true }),
    )
    return well('etcd quorum', `answers linearizable reads after ${Math.ceil(monotonicMs() - startedMs)} ms`)
  } catch (error) {
    const isRefused = isSkeinError(error) && error.code === 'unauthenticated'
    const fix = isRefused
      ? 'check user, password and certificates of the URL, and the role of the user'
      : 'start etcd servers until more than half of the members run and reach one another'
    return bad('etcd quorum', messageOf(error), fix)
  }
}

async function checkEndpoints(client: EtcdClient, { endpoints }: EtcdTarget): Promise<Check[]> {
  const found = await Promise.all(endpoints.map((address) => statusOf(client, address)))
  return found.map((status, at) => {
    const name = `etcd endpoint ${endpoints[at]}`
    return status === undefined
      ? bad(name, 'does not answer', 'is the server running, the address right, the port open?')
      : well(name, `answers, etcd ${status.version}`)
  })
}

async function checkMembers(client: EtcdClient, members: readonly Member[]): Promise<Check[]> {
  const voters = members.filter(({ isLearner }) => !isLearner).length
  const found = await Promise.all(
    members.map(async (member) => ({ member, status: await statusOfMember(client, member) })),
  )
  const count =
    voters % 2 === 1
      ? well('etcd votes', `${voters}; ${(voters - 1) / 2} may be lost`)
      : bad(
          'etcd votes',
          `${voters}; no more losses are borne than with ${voters - 1}`,
          'add a member, or remove one',
        )
  return [count, ...found.map(({ member, status }) => checkMember(member, status))]
}

function checkMember(member: Member, status: StatusResponse | undefined): Check {
  const name = `etcd member ${member.name === '' ? toHex(member.id) : member.name}`
  if (member.name === '') return bad(name, 'was added and never started', 'start it, or remove it')
  if (status === undefined) {
    return bad(
      name,
      'does not answer',
      'start it again; if its disk is lost, remove the member and add a new one (managed etcd does so by itself)',
    )
  }
  if (status.errors.length > 0) return bad(name, status.errors.join('; '), 'see the log of this server')
  const role = status.isLearner
    ? 'learner'
    : toHex(status.leader) === toHex(member.id)
      ? 'leader'
      : 'follower'
  const mib = Math.ceil(Number(toBig(status.dbSize)) / 1_048_576)
  return well(name, `${role}, etcd ${status.version}, ${mib} MiB`)
}

async function checkAlarms(client: EtcdClient): Promise<Check> {
  const { alarms } = await client.run('reading alarms', 'read', { timeoutMs }, (attempt) =>
    attempt.read(calls.alarm, { action: 0 }),
  )
  if (alarms.length === 0) return well('etcd alarms', 'none')
  const names = alarms.map(({ alarm, memberId }) => `${alarmNames[alarm] ?? alarm} at ${toHex(memberId)}`)
  return bad(
    'etcd alarms',
    names.join(', '),
    'NOSPACE: compact, defragment each member, then end the alarm (etcdctl alarm disarm); CORRUPT: replace that member',
  )
}

async function statusOfMember(client: EtcdClient, member: Member): Promise<StatusResponse | undefined> {
  const url = member.clientUrls[0]
  return url === undefined ? undefined : statusOf(client, url.replace(/^https?:\/\//, ''))
}

async function statusOf(client: EtcdClient, address: string): Promise<StatusResponse | undefined> {
  try {
    const options = { deadlineMs: monotonicMs() + statusTimeoutMs }
    return await client.single(address).unary(calls.status, {}, options)
  } catch {
    return undefined
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function well(name: string, detail: string): Check {
  return { name, ok: true, detail, fix: '' }
}

export function bad(name: string, detail: string, fix: string): Check {
  return { name, ok: false, detail, fix }
}
