/**
 * Chooses a node for work. All strategies see the same fit candidates (`candidate.ts`) and differ only in whom they prefer.
 *
 * A pick costs one pass over the candidates and allocates nothing but for `spread`: with 1,000 nodes a few microseconds.
 */
import { hash32 } from '../kernel/hash.js'
import type { Random } from '../kernel/random.js'
import { type Strategy, strategies } from '../kernel/strategies.js'
import { type Candidate, isFit, loadOf, roomOf, type Vantage, type Work, whyNot } from './candidate.js'
import { Ranking } from './ranking.js'

export { type Strategy, strategies } from '../kernel/strategies.js'

export const defaultStrategy: Strategy = 'least_loaded'

/** Hyphens are accepted. Undefined for what is no strategy. */
export function parseStrategy(text: string): Strategy | undefined {
  const name = text.replaceAll('-', '_') as Strategy
  return strategies.includes(name) ? name : undefined
}

export interface Scored {
  readonly candidate: Candidate
  /** Lower is preferred; its meaning is the strategy's. Null where chance or the turn decides. */
  readonly score: number | null
  /** Why not, if it may not be given this work. */
  readonly reasons: readonly string[]
}

/** Of a node that was measured and one that was not, the latter is farther. */
const unmeasuredMs = 1e9
const drawsMax = 8

type Score = (c: Candidate, work: Work) => number

/** Whose score rises with the agents of a node and depends on nothing else that a pick changes. */
const ranked: ReadonlySet<Strategy> = new Set(['least_loaded', 'least_agents', 'same_zone'])
const rankingsMax = 64

const scores: Partial<Record<Strategy, Score>> = {
  least_loaded: (c) => loadOf(c),
  least_agents: (c) => c.agents,
  consistent: (c, work) => hash32(c.nodeId, hash32(work.name)),
  binpack: (c) => -c.agents / c.maxAgents,
  same_zone: (c, work) => distance(c, work) * 1_000 + loadOf(c),
}

function latencyScore({ origin }: Work): Score {
  let from: Vantage | undefined
  return (c, work) => {
    from ??= c.vantageOf(origin?.nodeId)
    const ms = from === undefined ? undefined : c.rttMsFrom(from)
    return ms ?? unmeasuredMs * (1 + distance(c, work))
  }
}

function rttMs(c: Candidate, { origin }: Work): number | undefined {
  const from = c.vantageOf(origin?.nodeId)
  return from === undefined ? undefined : c.rttMsFrom(from)
}

function distance(c: Candidate, { origin }: Work): number {
  if (origin === undefined || origin.zone === '' || c.zone === origin.zone) return 0
  return origin.region !== '' && c.region === origin.region ? 1 : 2
}

/** Nodes of one zone are alike until their loads differ by so much, and round trips by so much. */
const loadMargin = 20
const rttMarginMs = 0.5
const rttMarginShare = 0.2

/** Whether it is better there by more than measurements waver: what would only move to and fro stays. */
export function isWorthMoving(strategy: Strategy, from: Candidate, to: Candidate, work: Work): boolean {
  if (!isFit(from, work)) return true
  if (strategy === 'lowest_latency') {
    const hereMs = rttMs(from, work)
    const thereMs = rttMs(to, work)
    // Who was just started is not far for that.
    if (hereMs === undefined || thereMs === undefined) return false
    return thereMs < hereMs * (1 - rttMarginShare) - rttMarginMs
  }
  if (strategy === 'same_zone' && distance(from, work) === distance(to, work))
    return loadOf(from) - loadOf(to) > loadMargin
  return true
}

export class Balancer {
  private readonly random: Random
  /** Turn of round_robin: the name after which to look. */
  private last = ''
  /** Picks by turn so far. */
  roundRobinIndex = 0

  constructor(random: Random) {
    this.random = random
  }

  /** `candidates` in order of node id, the same array for all picks between two changes. Undefined when none is fit. */
  pick(strategy: Strategy, candidates: readonly Candidate[], work: Work): Candidate | undefined {
    switch (strategy) {
      case 'round_robin':
        return this.nextInTurn(candidates, work)
      case 'random':
        return this.drawFit(candidates, work)
      case 'weighted':
        return this.draw(candidates, work, roomOf)
      case 'power_of_two':
        return this.betterOfTwo(candidates, work)
      default:
        return this.best(candidates, work, scoreOf(strategy, candidates, work))
    }
  }

  /**
   * The same for one pick after the other, as long as candidates only get fuller between them: whom `pick` would choose, at a fraction of its price
   * where there are many nodes. `rankings` is the caller's, who clears it when anything else changed.
   */
  pickNext(
    strategy: Strategy,
    candidates: readonly Candidate[],
    work: Work,
    rankings: Map<string, Ranking>,
  ): Candidate | undefined {
    if (!ranked.has(strategy)) return this.pick(strategy, candidates, work)
    const { kind, services, constraints, origin } = work
    const near = strategy === 'same_zone' ? [origin?.zone, origin?.region] : null
    const key = JSON.stringify([strategy, kind, services, constraints, near])
    let ranking = rankings.get(key)
    if (ranking === undefined) {
      const score = scoreOf(strategy, candidates, work)
      ranking = new Ranking(candidates, work, (c) => score(c, work))
      if (rankings.size >= rankingsMax) rankings.clear()
      rankings.set(key, ranking)
    }
    return ranking.best()
  }

  /** Every candidate with its score, the preferred first. Changes no turn. */
  explain(strategy: Strategy, candidates: readonly Candidate[], work: Work): Scored[] {
    const byChance = strategy === 'round_robin' || strategy === 'random'
    const score =
      strategy === 'power_of_two'
        ? loadOf
        : strategy === 'weighted'
          ? (c: Candidate) => -roomOf(c)
          : scoreOf(strategy, candidates, work)
    return candidates
      .map((candidate): Scored => {
        const reasons = whyNot(candidate, work)
        return { candidate, reasons, score: byChance ? null : score(candidate, work) }
      })
      .sort(
        (a, b) =>
          Math.min(a.reasons.length, 1) - Math.min(b.reasons.length, 1) ||
          (a.score ?? 0) - (b.score ?? 0) ||
          (isPreferredAmongEquals(a.candidate, b.candidate) ? -1 : 1),
      )
  }

  private best(candidates: readonly Candidate[], work: Work, score: Score): Candidate | undefined {
    let best: Candidate | undefined
    let bestScore = 0
    for (const c of candidates) {
      if (!isFit(c, work)) continue
      const s = score(c, work)
      if (best === undefined || s < bestScore || (s === bestScore && isPreferredAmongEquals(c, best))) {
        best = c
        bestScore = s
      }
    }
    return best
  }

  private nextInTurn(candidates: readonly Candidate[], work: Work): Candidate | undefined {
    const { length } = candidates
    let start = 0
    let end = length
    while (start < end) {
      const middle = (start + end) >>> 1
      if ((candidates[middle] as Candidate).nodeId <= this.last) start = middle + 1
      else end = middle
    }
    for (let i = 0; i < length; i++) {
      const c = candidates[(start + i) % length] as Candidate
      if (!isFit(c, work)) continue
      this.last = c.nodeId
      this.roundRobinIndex++
      return c
    }
    return undefined
  }

  /** One pass, weighted reservoir. */
  private draw(
    candidates: readonly Candidate[],
    work: Work,
    weight: (c: Candidate) => number,
  ): Candidate | undefined {
    let total = 0
    let chosen: Candidate | undefined
    for (const c of candidates) {
      if (!isFit(c, work)) continue
      const w = weight(c)
      total += w
      if (this.random.float() * total < w) chosen = c
    }
    return chosen
  }

  private betterOfTwo(candidates: readonly Candidate[], work: Work): Candidate | undefined {
    const first = this.drawFit(candidates, work)
    const second = this.drawFit(candidates, work)
    if (first === undefined || second === undefined) return first ?? second
    const difference = loadOf(first) - loadOf(second)
    return difference < 0 || (difference === 0 && isPreferredAmongEquals(first, second)) ? first : second
  }

  /** A few blind draws; where most are unfit, a full pass. */
  private drawFit(candidates: readonly Candidate[], work: Work): Candidate | undefined {
    for (let i = 0; i < drawsMax; i++) {
      const c = this.random.pick(candidates)
      if (c !== undefined && isFit(c, work)) return c
    }
    return this.draw(candidates, work, () => 1)
  }
}

function scoreOf(strategy: Strategy, candidates: readonly Candidate[], work: Work): Score {
  if (strategy === 'lowest_latency') return latencyScore(work)
  return strategy === 'spread' ? spreadScore(candidates) : (scores[strategy] ?? loadOf)
}

/** Share in use of the zone; among nodes of one zone the tie is broken by their own. */
function spreadScore(candidates: readonly Candidate[]): Score {
  const zones = zoneUse(candidates)
  return (c) => zones.get(c.zone)?.share ?? 0
}

export interface ZoneUse {
  agents: number
  places: number
  share: number
}

/** Of each zone, what may be used of it at present. */
export function zoneUse(candidates: readonly Candidate[]): Map<string, ZoneUse> {
  const zones = new Map<string, ZoneUse>()
  for (const c of candidates) {
    if (c.refusal !== '') continue
    const zone = zones.get(c.zone)
    if (zone === undefined) zones.set(c.zone, { agents: c.agents, places: c.maxAgents, share: 0 })
    else {
      zone.agents += c.agents
      zone.places += c.maxAgents
    }
  }
  for (const zone of zones.values()) zone.share = zone.agents / Math.max(1, zone.places)
  return zones
}

/** Fewer agents for its size, then the smaller name, for want of a better reason. */
function isPreferredAmongEquals(a: Candidate, b: Candidate): boolean {
  const difference = a.agents * b.maxAgents - b.agents * a.maxAgents
  return difference < 0 || (difference === 0 && a.nodeId < b.nodeId)
}
