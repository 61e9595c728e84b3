/** Replicated maps, as the dashboard asks for them. Only paths and shapes of the HTTP contract. */
import type { z } from 'zod'
import type { MapEntryJson, mapListSchema, mapSchema } from '../../src/http/map-contract.js'
import { getJson } from './http-client.js'

export type { MapEntryJson }
export type MapListJson = z.infer<typeof mapListSchema>
export type MapPageJson = z.infer<typeof mapSchema>

const pageLength = 50

export function fetchMaps(): Promise<MapListJson> {
  return getJson('api/maps')
}

/** The keys behind `after`, in order; all of them from the beginning where that is empty. */
export function fetchMapPage(name: string, after: string): Promise<MapPageJson> {
  const query = new URLSearchParams({ limit: String(pageLength), ...(after === '' ? {} : { after }) })
  return getJson(`api/maps/${encodeURIComponent(name)}?${query}`)
}
