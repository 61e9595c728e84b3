/**
 * `/api/config`: versioned documents. A version is an ETag: to change a document one says which version was read (`If-Match`), or `*` for whatever is
 * there; to make one nothing, or `If-None-Match: *`.
 */
import { isSkeinError } from '../core/kernel/error.js'
import type { ConfigDocument, SkeinNode } from '../runtime/node-api.js'
import * as shapes from './map-contract.js'
import { HttpProblem, invalid, notFound } from './problem.js'
import { type Answer, type Route, route } from './route.js'

const path = '/api/config/{key}'

export function configRoutes(node: SkeinNode): Route[] {
  return [...readRoutes(node), ...writeRoutes(node)]
}

function readRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/config',
      role: 'viewer',
      summary: 'All documents of the cluster’s configuration, and the settings in force on this node',
      answers: { 200: { description: 'Documents', schema: shapes.configListSchema } },
      handle: () => {
        const documents = node.config.list().map(documentJson)
        const s = node.config.settings
        const settings = {
          strategy: s.strategy,
          rebalance: s.rebalance,
          log_level: s.logLevel,
          rate_limit: s.rateLimit,
          rate_burst: s.rateBurst,
          retention_hours: s.retentionHours,
          retention_stream_mib: s.retentionStreamMib,
        }
        return { body: { documents, count: documents.length, settings } }
      },
    }),
    route({
      method: 'GET',
      path,
      role: 'viewer',
      summary: 'One document; its version is the ETag',
      answers: { 200: { description: 'The document', schema: shapes.configDocumentSchema } },
      errors: ['not_found'],
      handle: ({ params }) => {
        const document = node.config.get(params.key as string)
        if (document === undefined) throw notFound(`document "${params.key}"`)
        return answerOf(document)
      },
    }),
    route({
      method: 'GET',
      path: `${path}/history`,
      role: 'viewer',
      summary: 'The versions of a document that are kept, the newest first',
      answers: { 200: { description: 'Versions', schema: shapes.configHistorySchema } },
      errors: ['invalid_argument', 'not_found', 'unavailable', 'timeout'],
      handle: async ({ params }) => {
        const key = params.key as string
        const versions = (await node.config.history(key)).map(documentJson)
        if (versions.length === 0) throw notFound(`document "${key}"`)
        return { body: { key, versions, count: versions.length } }
      },
    }),
  ]
}

function writeRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'PUT',
      path,
      role: 'admin',
      summary:
        'Write a document. One that exists needs If-Match with its ETag, or * (428 without, 412 when it has changed); the document skein holds Skein’s own settings',
      body: shapes.configWriteSchema,
      headers: preconditions,
      refusals: { 412: 'It has changed since that version', 428: 'It exists, and no version was named' },
      answers: {
        200: { description: 'The new version', schema: shapes.configDocumentSchema },
        201: { description: 'The first version', schema: shapes.configDocumentSchema },
      },
      errors: ['invalid_argument', 'conflict', 'overloaded', 'unavailable', 'timeout'],
      handle: async ({ params, body, http, principal }) => {
        const key = params.key as string
        const { note = '' } = body
        const ifVersion = versionOf(http.headers)
        return guarded(ifVersion, () =>
          node.config.set(key, body.value, { ...ifVersion.options, by: principal.name, note }),
        )
      },
    }),
    route({
      method: 'POST',
      path: `${path}/rollback`,
      role: 'admin',
      summary: 'Write the value of an earlier version again, as a new one; If-Match is optional',
      body: shapes.configRollbackSchema,
      answers: { 200: { description: 'The new version', schema: shapes.configDocumentSchema } },
      headers: preconditions,
      refusals: { 412: 'It has changed since that version' },
      errors: ['invalid_argument', 'not_found', 'conflict', 'unavailable', 'timeout'],
      handle: async ({ params, body, http, principal }) => {
        const ifVersion = versionOf(http.headers)
        const options = ifVersion.isGiven ? ifVersion.options : {}
        const { note } = body
        return guarded({ ...ifVersion, isGiven: true }, () =>
          node.config.rollback(params.key as string, body.version, {
            ...options,
            by: principal.name,
            ...(note === undefined ? {} : { note }),
          }),
        )
      },
    }),
  ]
}

const preconditions = [
  { name: 'If-Match', description: 'The ETag of the version to be replaced, such as "3", or * for any' },
  { name: 'If-None-Match', description: '*: only if there is none yet' },
]

interface Precondition {
  readonly isGiven: boolean
  readonly options: { readonly ifVersion?: number }
}

/** Nothing said: only a document that is not there yet may be written. */
function versionOf(headers: Readonly<Record<string, string | string[] | undefined>>): Precondition {
  const match = headers['if-match']
  if (headers['if-none-match'] === '*') return { isGiven: true, options: { ifVersion: 0 } }
  if (match === undefined) return { isGiven: false, options: { ifVersion: 0 } }
  if (match === '*') return { isGiven: true, options: {} }
  const version = /^"(\d{1,15})"$/.exec(String(match))?.[1]
  if (version === undefined) throw invalid('If-Match', match, 'the ETag of a version, such as "3", or *')
  return { isGiven: true, options: { ifVersion: Number(version) } }
}

async function guarded(
  { isGiven, options }: Precondition,
  write: () => Promise<ConfigDocument>,
): Promise<Answer> {
  try {
    const document = await write()
    return { ...answerOf(document), status: document.version === 1 ? 201 : 200 }
  } catch (error) {
    if (!isSkeinError(error) || error.code !== 'conflict' || options.ifVersion === undefined) throw error
    const { details, message } = error
    if (isGiven) throw new HttpProblem('conflict', message, { status: 412, details })
    throw new HttpProblem(
      'invalid_argument',
      `${message}: say with If-Match which version is to be replaced`,
      {
        status: 428,
        details: { ...details, field: 'If-Match' },
      },
    )
  }
}

function answerOf(document: ConfigDocument): Answer {
  return { headers: { etag: `"${document.version}"` }, body: documentJson(document) }
}

function documentJson({ key, version, value, atMs, by, note }: ConfigDocument): shapes.ConfigDocumentJson {
  return { key, version, value, at: new Date(atMs).toISOString(), by, note }
}
