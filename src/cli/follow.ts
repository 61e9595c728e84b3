/**
 * Long work of the cluster, seen to its end: a bar on a terminal, a line every few seconds elsewhere. It does not need whoever watches it: Ctrl-C
 * leaves it to itself and says how to look at it again.
 */
import type { OperationJson } from '../http/contract.js'
import { call } from './client.js'
import { CliFailure, exitCodes } from './exit.js'
import { dieOfInterrupt, pause, untilInterrupted } from './interrupt.js'
import { print, printJson, tell } from './output.js'
import { Progress } from './progress.js'
import { clientOf, type RemoteOptions } from './remote.js'

const lookEveryMs = 300
/** The node that was asked may restart meanwhile, or be cut off for a moment. */
const silenceMsMax = 15_000

export interface Step {
  readonly done: number
  readonly total: number
  readonly text: string
  readonly isOver: boolean
}

/** Looks again and again until it is over. The last step. `again` is how to look at it again. */
export async function follow(o: RemoteOptions, again: string, look: () => Promise<Step>): Promise<Step> {
  const { signal, release } = untilInterrupted()
  let heardMs = Date.now()
  let progress: Progress | undefined
  try {
    for (;;) {
      try {
        const step = await look()
        heardMs = Date.now()
        progress ??= new Progress(step.total, { isQuiet: o.json === true })
        progress.show(step.done, step.text, step.isOver)
        if (step.isOver) return step
      } catch (error) {
        const isSilence = error instanceof CliFailure && error.exitCode === exitCodes.unreachable
        if (!isSilence || Date.now() - heardMs > silenceMsMax) throw error
      }
      if (await pause(lookEveryMs, signal)) {
        progress?.end()
        tell(`it goes on without you; look at it again with: ${again}`)
        return dieOfInterrupt()
      }
    }
  } finally {
    release()
  }
}

/** Until the operation ends; prints how it ended. Fails with 1 when it did not do what was asked. */
export async function followOperation(o: RemoteOptions, begun: OperationJson): Promise<void> {
  const path = `/api/cluster/operations/${encodeURIComponent(begun.id)}`
  let operation = begun
  await follow(o, `skein operations follow ${begun.id}${addrOf(o)}`, async () => {
    if (operation.state === 'running') operation = (await call(clientOf(o), 'GET', path)) as OperationJson
    return stepOf(operation)
  })
  if (o.json === true) printJson(operation)
  else {
    print(`${operation.kind} of ${operation.node_id}: ${operation.state}: ${operation.detail}`)
    for (const { agent, reason } of operation.blockers) print(`  ${agent} could go nowhere: ${reason}`)
  }
  if (operation.state !== 'done')
    throw new CliFailure(
      exitCodes.failed,
      `${operation.kind} of ${operation.node_id} ${operation.state}: ${operation.detail}`,
      { code: `operation_${operation.state}` },
    )
}

export function stepOf({ kind, node_id, left, total, state, detail }: OperationJson): Step {
  const all = total.shards + total.agents
  return {
    done: Math.max(0, all - left.shards - left.agents),
    total: all,
    text: `${kind} of ${node_id}: ${detail}`,
    isOver: state !== 'running',
  }
}

/** So that the command that is offered asks the same node. */
function addrOf({ addr }: RemoteOptions): string {
  return addr === (process.env.SKEIN_ADDR ?? '127.0.0.1:8151') ? '' : ` --addr ${addr}`
}
