/** What the dashboard asks about events. Only paths and shapes of the HTTP contract. */
import type { z } from 'zod'
import type { EventJson, eventPageSchema } from '../../src/http/contract.js'
import { getJson } from './http-client.js'

export type { EventJson }
export type EventPageJson = z.infer<typeof eventPageSchema>

export const pageMax = 100

/** In acknowledged order per key. `key` empty: of all keys; `after` empty: from the beginning. */
export function fetchEvents(stream: string, key: string, after: string): Promise<EventPageJson> {
  const query = new URLSearchParams({ stream, limit: String(pageMax) })
  if (key !== '') query.set('key', key)
  if (after !== '') query.set('after', after)
  return getJson(`api/events?${query}`)
}
