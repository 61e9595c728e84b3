/** Short commands that run to their end beside an agent, to save its state before a move and load it after. Bounded in number, time and size. */
import { constants } from 'node:os'
import { SkeinError } from '../../core/kernel/error.js'
import type { Hook, HookResult } from '../../ports/agent-processes.js'
import { agentEnvironment } from './agent-run.js'
import type { ChildGroup, ChildGroups } from './child-group.js'
import { CannotStart } from './find-command.js'
import type { RunSweeper } from './run-sweeper.js'

const hooksMax = 32
const stderrBytesMax = 64 * 1_024
/** After a hook's end: something outside of its group may hold its streams open. */
const lastWordsMsMax = 2_000

export interface HooksWorld {
  readonly nodeId: string
  readonly groups: ChildGroups
  readonly sweeper: RunSweeper
  readonly whyNot: () => string | undefined
}

export class Hooks {
  readonly #world: HooksWorld
  #running = 0

  constructor(world: HooksWorld) {
    this.#world = world
  }

  async run(hook: Hook): Promise<HookResult> {
    const details = { name: hook.name, command: hook.command }
    const why = this.#world.whyNot()
    if (why !== undefined)
      throw new SkeinError('unavailable', `hook of agent "${hook.name}" may not start: ${why}`, {
        retryable: true,
        details,
      })
    if (this.#running >= hooksMax)
      throw new SkeinError('overloaded', `${hooksMax} hooks run on this node: no more are allowed`, {
        retryable: true,
        details,
      })
    this.#running++
    try {
      const order = {
        command: hook.command,
        args: hook.args,
        env: agentEnvironment(hook.env, this.#world.nodeId, hook.name, hook.epoch),
        cwd: hook.cwd ?? process.cwd(),
      }
      const group = await this.#world.groups.start(order, {
        whyNot: () => undefined,
        onSpawned: () => undefined,
      })
      return await this.#untilDone(group, hook)
    } catch (error) {
      if (!(error instanceof CannotStart)) throw error
      throw new SkeinError('invalid_argument', `hook of agent "${hook.name}": ${error.message}`, { details })
    } finally {
      this.#running--
    }
  }

  async #untilDone(group: ChildGroup, hook: Hook): Promise<HookResult> {
    const { name, command, timeoutMs, outputBytesMax } = hook
    let failure: SkeinError | undefined
    const giveUp = (error: SkeinError) => {
      failure ??= error
      group.kill()
    }
    const timer = setTimeout(
      () =>
        giveUp(
          new SkeinError(
            'timeout',
            `hook of agent "${name}" did not end within ${timeoutMs} ms: ${command} was killed`,
            { details: { name, command, timeoutMs } },
          ),
        ),
      timeoutMs,
    )
    const stdout: Buffer[] = []
    let bytes = 0
    const out = group.stdout.read(async (chunk) => {
      bytes += chunk.length
      if (bytes <= outputBytesMax) stdout.push(chunk)
      else
        giveUp(
          new SkeinError(
            'payload_too_large',
            `hook of agent "${name}" printed more than ${outputBytesMax} bytes: ${command} was killed`,
            { details: { name, command, outputBytesMax } },
          ),
        )
    })
    let stderr: Buffer = Buffer.alloc(0)
    const err = group.stderr.read(async (chunk) => {
      stderr = Buffer.concat([stderr, chunk]).subarray(-stderrBytesMax)
    })
    group.stdin.end(hook.input)
    const { code, signal } = await group.exited
    clearTimeout(timer)
    group.kill()
    await group.gone()
    await this.#world.sweeper.endRun(group.mark)
    await ended([out, err], group)
    if (failure !== undefined) throw failure
    return {
      code: code ?? 128 + (constants.signals[signal as NodeJS.Signals] ?? 0),
      stdout: Buffer.concat(stdout).toString('utf8'),
      stderr: stderr.toString('utf8'),
    }
  }
}

async function ended(streams: readonly Promise<void>[], group: ChildGroup): Promise<void> {
  const timer = setTimeout(() => {
    group.stdout.destroy()
    group.stderr.destroy()
  }, lastWordsMsMax)
  await Promise.all(streams)
  clearTimeout(timer)
}
