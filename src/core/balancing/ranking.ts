/**
 * Fit nodes for one kind of work, the best first, while many agents like it are placed one after the other: a pick costs what the last ones changed, not a
 * pass over all nodes. Chooses exactly whom a pass would choose.
 *
 * Holds as long as candidates only get fuller: what makes one better (an agent less, another load) makes a new ranking necessary. So a candidate's
 * place in the heap is at worst too good, and is looked at again when it comes to the top.
 */
import { type Candidate, isFit, roomOf, type Work } from './candidate.js'

interface Ranked {
  readonly candidate: Candidate
  score: number
  agents: number
}

export class Ranking {
  private readonly heap: Ranked[] = []
  private readonly score: (c: Candidate) => number

  /** `score`: lower is better, and no lower with more agents. */
  constructor(candidates: readonly Candidate[], work: Work, score: (c: Candidate) => number) {
    this.score = score
    for (const candidate of candidates)
      if (isFit(candidate, work))
        this.heap.push({ candidate, score: score(candidate), agents: candidate.agents })
    for (let i = (this.heap.length >> 1) - 1; i >= 0; i--) this.sink(i)
  }

  best(): Candidate | undefined {
    for (let top = this.heap[0]; top !== undefined; top = this.heap[0]) {
      const { candidate } = top
      if (roomOf(candidate) === 0) this.drop()
      else if (top.agents === candidate.agents) return candidate
      else {
        top.score = this.score(candidate)
        top.agents = candidate.agents
        this.sink(0)
      }
    }
    return undefined
  }

  private drop(): void {
    const last = this.heap.pop() as Ranked
    if (this.heap.length === 0) return
    this.heap[0] = last
    this.sink(0)
  }

  private sink(from: number): void {
    const { heap } = this
    const moved = heap[from] as Ranked
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Ranked, heap[child] as Ranked)) child++
      if (!isBefore(heap[child] as Ranked, moved)) break
      heap[at] = heap[child] as Ranked
      at = child
    }
    heap[at] = moved
  }
}

function isBefore(a: Ranked, b: Ranked): boolean {
  if (a.score !== b.score) return a.score < b.score
  const difference = a.agents * b.candidate.maxAgents - b.agents * a.candidate.maxAgents
  return difference < 0 || (difference === 0 && a.candidate.nodeId < b.candidate.nodeId)
}
