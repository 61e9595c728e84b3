/** The cluster's configuration: reading, writing under a condition, going back. Only paths and shapes of the HTTP contract. */
import type { z } from 'zod'
import type {
  ConfigDocumentJson,
  configHistorySchema,
  configListSchema,
} from '../../src/http/map-contract.js'
import { getJson, postJson, putJson } from './http-client.js'

export type { ConfigDocumentJson }
export type ConfigListJson = z.infer<typeof configListSchema>

function path(key: string, rest = ''): string {
  return `api/config/${encodeURIComponent(key)}${rest}`
}

export function fetchConfig(): Promise<ConfigListJson> {
  return getJson('api/config')
}

/** From the list: asking for one that may not be there would put an error on the console of whoever makes it. */
export async function fetchDocument(key: string): Promise<{ readonly document?: ConfigDocumentJson }> {
  const { documents } = await fetchConfig()
  const document = documents.find((each) => each.key === key)
  return document === undefined ? {} : { document }
}

/** The newest first. */
export async function fetchVersions(key: string): Promise<readonly ConfigDocumentJson[]> {
  const { versions } = await getJson<z.infer<typeof configHistorySchema>>(path(key, '/history'))
  return versions
}

/** Only in place of that very version; 0: only where there is none. Refused with 412 otherwise. */
export function writeDocument(
  key: string,
  replaced: number,
  value: unknown,
  note: string,
): Promise<ConfigDocumentJson> {
  const condition: Readonly<Record<string, string>> =
    replaced === 0 ? { 'if-none-match': '*' } : { 'if-match': `"${replaced}"` }
  return putJson(path(key), { value, ...(note === '' ? {} : { note }) }, condition)
}

/** The value of an earlier version as a new one, only in place of that very version. */
export function rollBack(
  key: string,
  replaced: number,
  version: number,
  note: string,
): Promise<ConfigDocumentJson> {
  const body = { version, ...(note === '' ? {} : { note }) }
  return postJson(path(key, '/rollback'), body, { 'if-match': `"${replaced}"` })
}
