/** Logging in and out with a browser, asking who one is, and reading who did what. */
import { z } from 'zod'
import type { SkeinNode } from '../runtime/node-api.js'
import type { Access, Principal } from './access.js'
import * as contract from './contract.js'
import { type Route, route } from './route.js'
import { type Session, sessionCookie } from './sessions.js'

/** A page that lives on gets a new cookie when so much of the old one's time is gone. */
const renewBeforeS = 1_800

export function authRoutes(node: SkeinNode, access: Access, isTls: boolean): Route[] {
  const attributes = `; Path=/; HttpOnly; SameSite=Strict${isTls ? '; Secure' : ''}`
  const cookie = (value: string, seconds: number) => ({
    'set-cookie': `${sessionCookie}=${value}; Max-Age=${seconds}${attributes}`,
  })
  const identity = (principal: Principal, session?: Session) => ({
    required: access.isRequired,
    name: principal.role === undefined ? null : principal.name,
    role: principal.role ?? null,
    via: principal.via,
    expires_at: session === undefined ? null : new Date(session.expiresAtS * 1_000).toISOString(),
  })
  return [
    route({
      method: 'GET',
      path: '/api/auth',
      role: 'public',
      summary: 'Who the caller is to this node, and whether a token is needed; renews a log-in',
      answers: { 200: { description: 'The caller', schema: contract.identitySchema } },
      handle: ({ principal }) => {
        const { session } = principal
        const nowMs = Date.now()
        if (session === undefined || session.expiresAtS - nowMs / 1_000 > renewBeforeS)
          return { body: identity(principal, session) }
        const next = access.sessions.open(session.entry, nowMs, session.startedAtS)
        const headers = cookie(next.value, next.expiresAtS - Math.floor(nowMs / 1_000))
        return { headers, body: identity(principal, next) }
      },
    }),
    route({
      method: 'POST',
      path: '/api/auth/login',
      role: 'public',
      summary: 'Change a token for a cookie that a browser sends by itself',
      body: contract.loginSchema,
      bodyBytesMax: 4_096,
      answers: { 200: { description: 'Logged in; the cookie is set', schema: contract.identitySchema } },
      errors: ['invalid_argument', 'unauthenticated'],
      handle: ({ body, principal, actAs }) => {
        if (!access.isRequired) return { body: identity(principal) }
        const claimed = access.identifyToken(body.token, principal.address)
        if (claimed.entry === undefined) throw access.unauthenticated(claimed, 'viewer')
        actAs(claimed)
        const session = access.sessions.open(claimed.entry, Date.now())
        const headers = cookie(session.value, session.expiresAtS - session.startedAtS)
        return { headers, body: identity({ ...claimed, via: 'session' }, session) }
      },
    }),
    route({
      method: 'POST',
      path: '/api/auth/logout',
      role: 'public',
      summary: 'Forget the cookie',
      answers: { 200: { description: 'The browser has no cookie any more', schema: contract.successSchema } },
      handle: () => ({ headers: cookie('', 0), body: { success: true } }),
    }),
    route({
      method: 'GET',
      path: '/api/audit',
      role: 'admin',
      summary: 'Who did what, over all nodes: the newest, or the first after a cursor',
      query: z.object({
        limit: z.coerce.number().int().min(1).max(1_000).default(100),
        after: z
          .string()
          .regex(/^[0-9a-f]{24}$/, 'the hlc of an entry, or a next_cursor')
          .optional(),
      }),
      answers: { 200: { description: 'Oldest first', schema: contract.auditSchema } },
      errors: ['invalid_argument'],
      handle: async ({ query }) => {
        const page = await node.audit.read({
          limit: query.limit,
          ...(query.after === undefined ? {} : { after: query.after }),
        })
        return {
          body: {
            entries: page.entries,
            count: page.entries.length,
            ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
            ...(page.incomplete.length === 0
              ? {}
              : { incomplete: page.incomplete.map(({ nodeId, error }) => ({ node_id: nodeId, error })) }),
          },
        }
      },
    }),
  ]
}
