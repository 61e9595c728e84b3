/** The agents and the strategy in force, as the page asks for them. */
import { type AgentJson, fetchAgents, fetchStrategy } from './agents-client.js'
import type { Question } from './wanted-data.js'

export interface AgentsAnswer {
  readonly agents: readonly AgentJson[]
  /** All there are; more than `agents` where the list was cut. */
  readonly total: number
  /** In force for the whole cluster. */
  readonly strategy: string
}

export const agentsQuestion: Question<AgentsAnswer> = {
  ask: async () => {
    const { agents, total } = await fetchAgents()
    return { agents, total, strategy: await fetchStrategy() }
  },
  topics: ['agent.'],
  // How many agents each node has, as the nodes themselves say.
  sign: (nodes) =>
    nodes.map(({ id, active_agents, lifecycle }) => `${id} ${active_agents} ${lifecycle}`).join(),
}
