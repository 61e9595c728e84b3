/** What two nodes compare before they exchange anything else, and the words in which one refuses the other. */
export interface HelloFacts {
  readonly clusterName: string
  readonly nodeId: string
  readonly protocolMin: number
  readonly protocolMax: number
  readonly storeIdentity: string
  readonly journalIdentity: string
}

export type HelloVerdict =
  | { readonly ok: true; readonly protocol: number }
  | {
      readonly ok: false
      readonly code: 'cluster_mismatch' | 'store_mismatch' | 'incompatible' | 'node_id_in_use'
      readonly detail: string
    }

/** Compares what `theirs` said with `ours`; `detail` names both values and the fix, from our point of view. */
export function checkHello(ours: HelloFacts, theirs: HelloFacts): HelloVerdict {
  if (ours.clusterName !== theirs.clusterName) {
    return refuse(
      'cluster_mismatch',
      `node ${theirs.nodeId} belongs to cluster "${theirs.clusterName}", this is cluster "${ours.clusterName}"; start it with --cluster-name ${ours.clusterName} or give it other peers`,
    )
  }
  if (ours.nodeId === theirs.nodeId) {
    return refuse(
      'node_id_in_use',
      `node id "${theirs.nodeId}" is this node's own; give the other one a --node-id of its own`,
    )
  }
  const protocol = Math.min(ours.protocolMax, theirs.protocolMax)
  if (protocol < Math.max(ours.protocolMin, theirs.protocolMin)) {
    return refuse(
      'incompatible',
      `node ${theirs.nodeId} speaks protocol ${theirs.protocolMin}..${theirs.protocolMax}, this node ${ours.protocolMin}..${ours.protocolMax}; upgrade the older one`,
    )
  }
  if (differs(ours.storeIdentity, theirs.storeIdentity)) {
    return refuse(
      'store_mismatch',
      `node ${theirs.nodeId} uses another store (${theirs.storeIdentity}, this node ${ours.storeIdentity}); give all nodes of cluster "${ours.clusterName}" the same --store`,
    )
  }
  if (differs(ours.journalIdentity, theirs.journalIdentity)) {
    return refuse(
      'store_mismatch',
      `node ${theirs.nodeId} uses another journal (${theirs.journalIdentity}, this node ${ours.journalIdentity}); give all nodes of cluster "${ours.clusterName}" the same --journal`,
    )
  }
  return { ok: true, protocol }
}

/** An identity is empty while its engine is not open yet; then there is nothing to compare. */
function differs(a: string, b: string): boolean {
  return a !== '' && b !== '' && a !== b
}

function refuse(code: Extract<HelloVerdict, { ok: false }>['code'], detail: string): HelloVerdict {
  return { ok: false, code, detail }
}
