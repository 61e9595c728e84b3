/** The names of strategies of placement: the balancer's, and the ones that cross HTTP. */

/**
 * round_robin: one after the other. least_loaded: lowest load. least_agents: fewest agents. random: each fit node alike. weighted: by chance, in
 * proportion to free places. power_of_two: the less loaded of two drawn by chance. consistent: by name, so that the same name goes to
 * the same node and few move when nodes come and go. spread: the zone, then the node, with the smallest share in use. binpack: the fullest
 * that has room. lowest_latency: the nearest by measured round trip. same_zone: the asker's zone, then its region, then any; the least
 * loaded there.
 */
export const strategies = [
  'round_robin',
  'least_loaded',
  'least_agents',
  'random',
  'weighted',
  'power_of_two',
  'consistent',
  'spread',
  'binpack',
  'lowest_latency',
  'same_zone',
] as const
export type Strategy = (typeof strategies)[number]
