/**
 * When the node that serves this page is gone: which other one is there. Asked is only whether it answers at all; the page then goes there as a whole, with
 * its address, so that no node has to trust the pages of another. A log-in counts on every node of one host; on another host the page asks for it.
 */
import type { ClusterStatusJson, NodeJson } from './http-client.js'

export interface Other {
  readonly id: string
  /** Where to go: its dashboard, with what this one shows. */
  readonly url: string
}

const probeTimeoutMs = 2_000
const askedMax = 16
/** Tells the next page whose place it took. */
const fromField = 'instead-of'

/** Null where none answers, or where the page did not come from the node's own address: then a proxy in between decides. */
export async function findOther(
  nodes: readonly NodeJson[],
  { node }: ClusterStatusJson,
): Promise<Other | null> {
  if (!isSameHost(location.host, node.address)) return null
  const candidates = otherNodes(nodes, node.id).slice(0, askedMax)
  try {
    return await Promise.any(candidates.map((each) => probe(each, node.id)))
  } catch {
    // None of them, this time.
    return null
  }
}

/** Those whose dashboards could stand in, as this page last heard of them: well ones first. */
export function otherNodes(nodes: readonly NodeJson[], than: string): readonly NodeJson[] {
  const isPlain = ({ address }: NodeJson) => /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/.test(address)
  return nodes
    .filter((each) => each.id !== than && each.kind === 'node' && each.observed !== 'left' && isPlain(each))
    .toSorted((a, b) => Number(b.status === 'online') - Number(a.status === 'online'))
}

async function probe({ id, address }: NodeJson, from: string): Promise<Other> {
  await fetch(`${location.protocol}//${address}/livez`, {
    mode: 'no-cors',
    cache: 'no-store',
    credentials: 'omit',
    signal: AbortSignal.timeout(probeTimeoutMs),
  })
  return { id, url: addressAt(address, from) }
}

/** The same page at another node. A name for this machine stays: the log-in hangs on it. */
export function addressAt(address: string, from: string): string {
  const url = new URL(location.href)
  const other = new URL(`${location.protocol}//${address}/`)
  if (!(isLoopback(url.hostname) && isLoopback(other.hostname))) url.hostname = other.hostname
  url.port = other.port
  url.pathname = '/'
  url.searchParams.set(fromField, from)
  return url.href
}

/** The node in whose place this page came, told once. */
export function takeFormerNode(): string | null {
  const url = new URL(location.href)
  const from = url.searchParams.get(fromField)
  if (from === null) return null
  url.searchParams.delete(fromField)
  history.replaceState(null, '', url)
  return from.slice(0, 64)
}

function isSameHost(here: string, address: string): boolean {
  if (here === address) return true
  const [a, b] = [
    new URL(`http://${here}/`),
    URL.canParse(`http://${address}/`) ? new URL(`http://${address}/`) : null,
  ]
  return b !== null && a.port === b.port && isLoopback(a.hostname) && isLoopback(b.hostname)
}

function isLoopback(name: string): boolean {
  return name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name)
}
