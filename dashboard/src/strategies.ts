/** What each strategy prefers, in words. The names are the contract's: the compiler sees to it that none is missing. */
import type { AgentInputJson } from '../../src/http/agent-contract.js'

const texts: Readonly<Record<NonNullable<AgentInputJson['strategy']>, string>> = {
  least_loaded: 'The node with the lowest load: CPU, memory and places in use.',
  least_agents: 'The node with the fewest agents.',
  round_robin: 'One node after the other.',
  weighted: 'By chance, in proportion to free places.',
  power_of_two: 'The less loaded of two nodes drawn by chance.',
  spread: 'The zone, then the node, with the smallest share of places in use.',
  binpack: 'The fullest node that has room.',
  consistent: 'By name: the same name goes to the same node, and few move when nodes come and go.',
  lowest_latency: 'The nearest node by measured round trip.',
  same_zone: 'The zone of whoever asks, then its region, then any; the least loaded node there.',
  random: 'Any node that fits, by chance.',
}

export const strategyTexts: Readonly<Record<string, string>> = texts
