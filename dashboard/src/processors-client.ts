/** Processors and their runs: what the dashboard asks, and the end of a run. Only paths and shapes of the HTTP contract. */
import type { ProcessorListJson, RunJson } from '../../src/http/processor-contract.js'
import { deleteJson, getJson } from './http-client.js'

export type { ProcessorListJson, RunJson }
export type StreamLoadJson = ProcessorListJson['streams'][number]

function runPath(id: string, rest = ''): string {
  return `api/processors/${encodeURIComponent(id)}${rest}`
}

export function fetchProcessors(): Promise<ProcessorListJson> {
  return getJson('api/processors')
}

export function fetchRun(id: string): Promise<RunJson> {
  return getJson(runPath(id))
}

/** Resolves with false when it had ended before. */
export async function killRun(id: string, reason: string): Promise<boolean> {
  const { killed } = await deleteJson<{ killed: boolean }>(runPath(id, `?${new URLSearchParams({ reason })}`))
  return killed
}
