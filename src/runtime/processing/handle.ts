/** A run as a program holds it: follows it to its end, on whatever node. */
import { SkeinError } from '../../core/kernel/error.js'
import type { RunStatus, SpawnHandle, SpawnRef } from './api-types.js'
import type { End } from './outcome.js'
import { unpackData } from './packing.js'

export class Handle<Result = unknown> implements SpawnHandle<Result> {
  readonly result: Promise<Result>
  status: RunStatus = 'running'
  private current: SpawnRef
  private readonly killRun: (ref: SpawnRef, reason: string) => Promise<boolean>
  private resolve: (result: Result) => void = () => {}
  private reject: (error: Error) => void = () => {}

  constructor(ref: SpawnRef, killRun: (ref: SpawnRef, reason: string) => Promise<boolean>) {
    this.current = ref
    this.killRun = killRun
    this.result = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Nobody has to ask.
    this.result.catch(() => {})
  }

  get ref(): SpawnRef {
    return this.current
  }

  get id(): string {
    return this.current.id
  }

  get name(): string {
    return this.current.name
  }

  get nodeId(): string {
    return this.current.nodeId
  }

  get bootId(): string {
    return this.current.bootId
  }

  kill(reason = 'killed'): Promise<boolean> {
    return this.killRun(this.current, reason)
  }

  toJSON(): SpawnRef {
    const { id, name, nodeId, bootId } = this.current
    return { id, name, nodeId, bootId }
  }

  /** It is run anew, elsewhere. */
  moved(ref: SpawnRef): void {
    this.current = ref
  }

  ended(end: End): void {
    const { status, error, result } = resultOf(this.current, end)
    if (this.status !== 'running') return
    this.status = status
    if (error === undefined) this.resolve(result as Result)
    else this.reject(error)
  }

  /** Nobody waits any more; what becomes of it is unknown. */
  gaveUp(error: SkeinError): void {
    if (this.status !== 'running') return
    this.status = 'unknown'
    this.reject(error)
  }
}

function resultOf(
  ref: SpawnRef,
  end: End,
): { readonly status: RunStatus; readonly error?: SkeinError; readonly result?: unknown } {
  const { name, nodeId, id } = ref
  const details = { run: id, node_id: nodeId, outcome: 'unknown' }
  if (end.kind === 'node') return { status: 'node_down', error: nodeDown(ref, end.reason) }
  if (end.kind === 'forgotten')
    return {
      status: 'unknown',
      error: new SkeinError('outcome_unknown', `${nodeId} knows nothing of "${name}" (${id}) any more`, {
        details,
      }),
    }
  const { outcome } = end
  switch (outcome.kind) {
    case 'failed':
      return { status: 'failed', error: outcome.error }
    case 'killed':
      return {
        status: 'killed',
        error: new SkeinError('aborted', `"${name}" was killed: ${outcome.reason}`, {
          details: { run: id, node_id: nodeId, reason: outcome.reason, is_settled: outcome.isSettled },
        }),
      }
    case 'left':
      return { status: 'node_down', error: nodeDown(ref, 'node_left') }
    case 'finished':
      break
  }
  if (outcome.result === null) return { status: 'finished' }
  try {
    return { status: 'finished', result: unpackData(outcome.result, `the result of "${name}"`) }
  } catch (error) {
    return { status: 'finished', error: error as SkeinError }
  }
}

export function nodeDown({ name, nodeId, id }: SpawnRef, reason: string): SkeinError {
  const how = reason.replace('node_', '')
  return new SkeinError('node_down', `${nodeId}, which ran "${name}", ${how}: the outcome is unknown`, {
    details: { run: id, node_id: nodeId, reason, outcome: 'unknown' },
  })
}
