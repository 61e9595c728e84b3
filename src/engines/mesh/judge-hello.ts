/** Whether two ends that have said hello go together, and in which words each is told that they do not. Pure. */
import { checkHello } from '../../core/wire/hello.js'
import type { Hello } from '../../ports/transport.js'
import type { Refusal } from './greeting.js'
import type { PeerProof } from './proof.js'

/** The words are for the reader: theirs for them, ours for us. `self`: the other end is this very node. */
export interface HelloRefusal {
  readonly forThem: Refusal
  readonly forUs: Refusal | 'self'
}

/** Undefined when they go together. */
export function judgeHello(ours: Hello, theirs: Hello, { node }: PeerProof): HelloRefusal | undefined {
  if (theirs.nodeId === ours.nodeId && theirs.bootId === ours.bootId)
    return { forThem: { code: 'self', detail: 'this is the node itself' }, forUs: 'self' }
  const verdict = checkHello(ours, theirs)
  if (!verdict.ok && verdict.code === 'cluster_mismatch') return inBothWords(ours, theirs, verdict)
  if (node !== undefined && (node.nodeId !== theirs.nodeId || node.clusterName !== theirs.clusterName)) {
    const detail = `the certificate is of node "${node.nodeId}" of cluster "${node.clusterName}", and the hello says "${theirs.nodeId}" of "${theirs.clusterName}": give each node its own certificate`
    const refusal = { code: 'bad_certificate', detail }
    return { forThem: refusal, forUs: refusal }
  }
  return verdict.ok ? undefined : inBothWords(ours, theirs, verdict)
}

function inBothWords(ours: Hello, theirs: Hello, { code, detail }: Refusal): HelloRefusal {
  const inverse = checkHello(theirs, ours)
  return { forThem: { code, detail: inverse.ok ? detail : inverse.detail }, forUs: { code, detail } }
}
