/** What a certificate calls its holder: a URI among its subject alternative names. A node's opens the mesh, a client's HTTP; neither does the other. */

const idPattern = /^[A-Za-z0-9._-]{1,64}$/
const nodePattern = /^URI:skein:\/\/([A-Za-z0-9._-]{1,64})\/node\/([A-Za-z0-9._-]{1,64})$/

export function nodeUri(clusterName: string, nodeId: string): string {
  return `skein://${clusterName}/node/${nodeId}`
}

export function clientUri(clusterName: string, role: string, name: string): string {
  return `skein://${clusterName}/client/${role}/${name}`
}

export interface NamedNode {
  readonly clusterName: string
  readonly nodeId: string
}

/** The node that a certificate names, that of this cluster if it names several; `names` as Node writes them: `URI:…, DNS:…`. */
export function nodeIn(names: string | undefined, clusterName: string): NamedNode | undefined {
  const found = (names?.split(', ') ?? []).flatMap((name) => {
    const [, cluster, nodeId] = nodePattern.exec(name) ?? []
    return cluster === undefined || nodeId === undefined ? [] : [{ clusterName: cluster, nodeId }]
  })
  return found.find((node) => node.clusterName === clusterName) ?? found[0]
}

export function nodeIdIn(names: string | undefined, clusterName: string): string | undefined {
  const node = nodeIn(names, clusterName)
  return node?.clusterName === clusterName ? node.nodeId : undefined
}

/** The client that a certificate names, and the role it was made for. */
export function clientIn(
  names: string | undefined,
  clusterName: string,
): { readonly role: string; readonly name: string } | undefined {
  const [role, name, ...rest] = after(names, `skein://${clusterName}/client/`)?.split('/') ?? []
  if (role === undefined || name === undefined || rest.length > 0 || !idPattern.test(name)) return undefined
  return { role, name }
}

/** Names that hold a comma or a quote are written in quotes, so that nothing in another name can pass for a URI. */
function after(names: string | undefined, start: string): string | undefined {
  const found = names?.split(', ').find((name) => name.startsWith(`URI:${start}`))
  return found?.slice(`URI:${start}`.length)
}
