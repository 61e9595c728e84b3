/** What machines ask of a process rather than of a cluster: health, metrics, the description of this surface. */
import { isSkeinError } from '../core/kernel/error.js'
import type { SkeinNode } from '../runtime/node-api.js'
import { healthSchema } from './contract.js'
import { type Route, route } from './route.js'

export interface SystemSources {
  readonly isQuiescing: () => boolean
  readonly openapi: () => string
}

/** A dashboard whose node is gone asks the others' whether they are there; more than that it cannot read. */
const anyPage = { 'cross-origin-resource-policy': 'cross-origin' } as const

export function systemRoutes(node: SkeinNode, sources: SystemSources): Route[] {
  return [
    route({
      method: 'GET',
      path: '/livez',
      role: 'public',
      summary: 'The process answers',
      answers: { 200: { description: 'Alive', schema: healthSchema } },
      handle: () => ({ headers: anyPage, body: { status: 'ok' } }),
    }),
    route({
      method: 'GET',
      path: '/readyz',
      role: 'public',
      summary: 'The node takes work',
      answers: {
        200: { description: 'Ready', schema: healthSchema },
        503: { description: 'Not ready, with reasons', schema: healthSchema },
      },
      handle: ({ principal }) => {
        const reasons = [...(sources.isQuiescing() ? ['the node is stopping'] : []), ...unreadiness(node)]
        if (reasons.length === 0) return { body: { status: 'ok' } }
        // Reasons name addresses and files: not for strangers.
        const told = principal.role === undefined ? {} : { reasons }
        return { status: 503, headers: { 'retry-after': '1' }, body: { status: 'unavailable', ...told } }
      },
    }),
    route({
      method: 'GET',
      path: '/metrics',
      role: 'viewer',
      summary: 'Prometheus text',
      answers: { 200: { description: 'Metrics', type: 'text/plain' } },
      handle: async () => ({
        contentType: node.metrics.contentType,
        body: await node.metrics.text(),
      }),
    }),
    route({
      method: 'GET',
      path: '/openapi.json',
      role: 'viewer',
      summary: 'This surface, as OpenAPI 3.1',
      answers: { 200: { description: 'OpenAPI document', type: 'application/json' } },
      handle: () => ({ contentType: 'application/json; charset=utf-8', body: sources.openapi() }),
    }),
  ]
}

function unreadiness(node: SkeinNode): string[] {
  let status: ReturnType<SkeinNode['cluster']['status']>
  try {
    status = node.cluster.status()
  } catch (error) {
    // Before the control plane has told of itself for the first time there is no status, which is an answer.
    if (isSkeinError(error) && error.code === 'unavailable') return ['the node is starting']
    throw error
  }
  const { lifecycle } = status.node
  return [
    ...(lifecycle === 'active' ? [] : [`lifecycle is ${lifecycle}`]),
    ...(status.isQuorumAvailable ? [] : ['no quorum']),
    ...(status.store.ok ? [] : [`store: ${status.store.detail}`]),
    ...(status.journal.ok ? [] : [`journal: ${status.journal.detail}`]),
  ]
}
