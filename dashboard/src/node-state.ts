/** One word for a node's state out of three axes (observed, lifecycle, stalled), worst first. Pure. */
import type { NodeJson } from './http-client.js'

export type NodeState = 'online' | 'joining' | 'draining' | 'stalled' | 'suspect' | 'offline'

export function nodeState(node: NodeJson): NodeState {
  if (node.status === 'offline' || node.observed === 'failed' || node.observed === 'left') return 'offline'
  if (node.observed === 'suspect') return 'suspect'
  if (node.stalled) return 'stalled'
  if (node.lifecycle === 'joining') return 'joining'
  return node.status === 'draining' ? 'draining' : 'online'
}

export const stateSigns: Readonly<Record<NodeState, string>> = {
  online: '●',
  joining: '○',
  draining: '▼',
  stalled: '◼',
  suspect: '▲',
  offline: '✕',
}
