/** From what a user asks for to what is kept: every field checked, every default in one place. */
import type { AgentSpec, HookSpec, ProcessPart, RestartPolicy } from '../../core/agents/records.js'
import { restartDefaults } from '../../core/agents/restart.js'
import { parseStrategy, strategies } from '../../core/balancing/balancer.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { AgentInput } from './api-types.js'
import { agentNamePattern, reservedKind } from './definition.js'

export type { AgentSpec } from '../../core/agents/records.js'

const stopGraceMs = { default: 5_000, max: 600_000 }
const specBytesMax = 64 * 1024

export function restartDefaultsOf(spec: AgentSpec): RestartPolicy {
  return spec.restart ?? restartDefaults
}

/** Errors: `invalid_argument`, `payload_too_large`. */
export function specOf(input: AgentInput, origin: AgentSpec['origin'], nowMs: number): AgentSpec {
  const { name, strategy, services = [], constraints = {} } = input
  const kind = input.kind ?? reservedKind
  if (!agentNamePattern.test(name))
    throw invalid(
      'name',
      `"${name}" must be 1 to 128 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit`,
    )
  if (!agentNamePattern.test(kind))
    throw invalid('kind', `"${kind}" must be "process" or the kind of a definition`)
  if (strategy !== undefined && parseStrategy(strategy) === undefined)
    throw invalid('strategy', `"${strategy}" is none of ${strategies.join(', ')}`)
  if (kind !== reservedKind && input.command !== undefined)
    throw invalid('command', `an agent of kind "${kind}" runs no command`)
  const spec: AgentSpec = {
    name,
    kind,
    services: [...services],
    constraints,
    desired: 'running',
    generation: 0,
    origin,
    createdAtMs: nowMs,
    ...(kind === reservedKind ? { process: processOf(input) } : {}),
    ...(input.config === undefined ? {} : { config: input.config }),
    ...(strategy === undefined ? {} : { strategy: parseStrategy(strategy) as NonNullable<typeof strategy> }),
    ...(input.restart === undefined ? {} : { restart: restartOf(input.restart) }),
  }
  const bytes = JSON.stringify(spec).length
  if (bytes > specBytesMax)
    throw new SkeinError(
      'payload_too_large',
      `the agent's description has ${bytes} bytes, at most ${specBytesMax} are allowed`,
    )
  return spec
}

function processOf(input: AgentInput): ProcessPart {
  const { command, args = [], env = {}, cwd } = input
  if (command === undefined || command === '' || command.includes('\0'))
    throw invalid('command', 'a process agent needs the program to run')
  if (args.some((a) => a.includes('\0'))) throw invalid('args', 'must not contain NUL')
  for (const key of Object.keys(env))
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key))
      throw invalid('env', `"${key}" is no name of an environment variable`)
  const graceMs = input.stopGraceMs ?? stopGraceMs.default
  if (!(graceMs >= 0 && graceMs <= stopGraceMs.max))
    throw invalid('stop_grace_ms', `${graceMs} must be 0 to ${stopGraceMs.max}`)
  return {
    command,
    args: [...args],
    env: { ...env },
    stopGraceMs: graceMs,
    ...(cwd === undefined ? {} : { cwd }),
    ...(input.saveHook === undefined ? {} : { saveHook: hookOf(input.saveHook) }),
    ...(input.loadHook === undefined ? {} : { loadHook: hookOf(input.loadHook) }),
  }
}

function hookOf(hook: HookSpec): HookSpec {
  return { command: hook.command, args: [...(hook.args ?? [])] }
}

function restartOf(wanted: Partial<RestartPolicy>): RestartPolicy {
  const policy = { ...restartDefaults, ...wanted }
  if (!['always', 'on_failure', 'never'].includes(policy.mode))
    throw invalid('restart.mode', `"${policy.mode}" is none of always, on_failure, never`)
  for (const [field, min, max] of [
    ['backoffMinMs', 10, 600_000],
    ['backoffMaxMs', policy.backoffMinMs, 3_600_000],
    ['triesMax', 0, 1_000],
    ['windowMs', 1_000, 86_400_000],
  ] as const)
    if (!(policy[field] >= min && policy[field] <= max))
      throw invalid(`restart.${field}`, `${policy[field]} must be ${min} to ${max}`)
  return policy
}

function invalid(field: string, detail: string): SkeinError {
  return new SkeinError('invalid_argument', `agent: ${field}: ${detail}`, { details: { field } })
}
