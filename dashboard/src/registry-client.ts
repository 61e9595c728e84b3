/** Services and names, as the dashboard asks for them. Only paths and shapes of the HTTP contract. */
import type { NameJson, ServiceJson } from '../../src/http/service-contract.js'
import { getJson } from './http-client.js'

export type { NameJson, ServiceJson }
export type InstanceJson = ServiceJson['instances'][number]

export async function fetchServices(): Promise<readonly ServiceJson[]> {
  const { services } = await getJson<{ services: ServiceJson[] }>('api/services')
  return services
}

export async function fetchNames(): Promise<readonly NameJson[]> {
  const { names } = await getJson<{ names: NameJson[] }>('api/names')
  return names
}
