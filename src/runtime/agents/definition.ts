/**
 * What a program says about a kind of agent. An agent of that kind has a state of its own, takes calls one at a time in the order in which
 * they come, and answers once what a call changed is in the journal.
 */

import type { NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'

export type StopCause = 'removed' | 'moved' | 'fading' | 'lost' | 'leaving' | 'failed' | 'completed'

export interface AgentContext<State> {
  readonly name: string
  readonly kind: string
  /** Of this assignment: rises each time the agent is given to a node. What you write elsewhere should carry it, and the other side refuse lower ones. */
  readonly epoch: number
  readonly nodeId: NodeId
  /** As given when the agent was made; JSON. */
  readonly config: unknown
  /** Plain data: what can be packed and sent. Change it in place or put another in its place. */
  state: State
  /** Aborted when the agent ends here, or may not act here any longer. */
  readonly signal: AbortSignal
  /** Resolves when durable. Refused with `fenced` once this agent may not act any more. */
  publish(
    stream: string,
    event: { readonly key: string; readonly type?: string; readonly payload: unknown; readonly id?: string },
  ): Promise<void>
  /** Calls another agent, or this one (then it runs after the present call). Refused with `fenced` as above. */
  // biome-ignore lint/suspicious/noExplicitAny: of whatever state
  call<H extends Handlers<any>>(definition: AnyAgentDefinition<H>, name: string): AgentProxy<H>
  /** Runs `step` again and again, `everyMs` apart, in turn with the calls. Ends with the agent. At least 10 ms. */
  every(everyMs: number, step: (context: AgentContext<State>) => void | Promise<void>): void
  /** The agent has done its work: it stops for good, as `stopped`. */
  complete(detail?: string): void
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields?: Readonly<Record<string, unknown>>,
  ): void
}

// biome-ignore lint/suspicious/noExplicitAny: the arguments of a handler are its own affair; `any` is what infers them
export type Handler<State> = (context: AgentContext<State>, ...args: any[]) => unknown
export type Handlers<State> = Readonly<Record<string, Handler<State>>>

export interface AgentBehaviour<State, H extends Handlers<State>> {
  /** At the very first start: a value, which is copied, or what makes one from the agent's config. */
  readonly state: State | ((config: unknown) => State)
  readonly on: H
  /** After each start, wherever it is; before the first call. */
  readonly onStart?: (context: AgentContext<State>) => void | Promise<void>
  /** Before it ends here. Changes of the state are kept, unless it may not act any more. */
  readonly onStop?: (context: AgentContext<State>, why: StopCause) => void | Promise<void>
  /** Each agent of this kind gets a thread of its own, loaded from `module`, with a limit on its memory. */
  readonly worker?: { readonly module: string | URL; readonly memoryMib?: number }
}

export interface AgentDefinition<
  Kind extends string = string,
  State = unknown,
  H extends Handlers<State> = Handlers<State>,
> extends AgentBehaviour<State, H> {
  readonly kind: Kind
}

/** Each handler, without its context. */
export type AgentProxy<H> = {
  readonly [K in keyof H]: H[K] extends (context: never, ...args: infer A) => infer R
    ? (...args: A) => Promise<Awaited<R>>
    : never
}

export const agentNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
export const reservedKind = 'process'

/** Throws `invalid_argument` for a kind or a handler's name that cannot be used. */
export function defineAgent<const Kind extends string, State, const H extends Handlers<State>>(
  kind: Kind,
  behaviour: AgentBehaviour<State, H>,
): AgentDefinition<Kind, State, H> {
  if (!agentNamePattern.test(kind) || kind === reservedKind)
    throw new SkeinError(
      'invalid_argument',
      `defineAgent: kind "${kind}" must be 1 to 128 characters of A-Z a-z 0-9 . _ -, begin with a letter or digit, and not be "process"`,
    )
  for (const name of Object.keys(behaviour.on))
    if (name === 'then' || typeof behaviour.on[name] !== 'function')
      throw new SkeinError(
        'invalid_argument',
        `defineAgent "${kind}": on.${name} must be a function and not be named "then"`,
      )
  return { ...behaviour, kind }
}

/** Of whatever state and handlers. */
// biome-ignore lint/suspicious/noExplicitAny: a definition is invariant in its state; to hold any of them takes `any`
export type AnyAgentDefinition<H extends Handlers<any> = Handlers<any>> = AgentDefinition<string, any, H>

export function isAgentDefinition(value: unknown): value is AgentDefinition {
  const v = value as Partial<AgentDefinition> | null
  return (
    typeof v === 'object' &&
    v !== null &&
    typeof v.kind === 'string' &&
    typeof v.on === 'object' &&
    'state' in v
  )
}

/** All that a module exports, by name, by default, or in a list. */
export function definitionsOf(module: unknown): AgentDefinition[] {
  const found = new Set<AgentDefinition>()
  const look = (value: unknown): void => {
    if (isAgentDefinition(value)) found.add(value)
  }
  for (const value of Object.values(module as Record<string, unknown>)) {
    look(value)
    if (Array.isArray(value)) value.forEach(look)
    else if (typeof value === 'object' && value !== null && !isAgentDefinition(value))
      Object.values(value).forEach(look)
  }
  return [...found]
}
