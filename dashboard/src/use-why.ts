/** The evidence behind a node's status, asked for again and again while somebody looks. */
import { fetchWhy, type WhyJson } from './http-client.js'
import { type Asked, useAnswer } from './use-answer.js'

const refreshMs = 2_000

export function useWhy(nodeId: string): Asked<WhyJson> {
  return useAnswer(`why ${nodeId}`, () => fetchWhy(nodeId), refreshMs)
}
