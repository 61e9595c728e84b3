/** What came of what somebody asked for: a few lines in a corner, read out by screen readers, gone after a while or when dismissed. */
import { useEffect, useState } from 'preact/hooks'

const keptMax = 4
const shownMs = 20_000

interface Outcome {
  readonly id: number
  readonly text: string
  readonly isGood: boolean
}

export class Outcomes {
  private readonly listeners = new Set<(outcomes: readonly Outcome[]) => void>()
  private current: readonly Outcome[] = []
  private lastId = 0

  get list(): readonly Outcome[] {
    return this.current
  }

  subscribe(listener: (outcomes: readonly Outcome[]) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  add(text: string, isGood: boolean): void {
    const id = ++this.lastId
    this.update([...this.current, { id, text, isGood }].slice(-keptMax))
    setTimeout(() => this.dismiss(id), shownMs)
  }

  dismiss(id: number): void {
    this.update(this.current.filter((each) => each.id !== id))
  }

  /** Carries it out and tells what came of it; what it rejects with is told as well. */
  async tell(what: string, act: () => Promise<string>): Promise<void> {
    try {
      this.add(await act(), true)
    } catch (error) {
      this.add(`${what} failed: ${errorText(error)}`, false)
    }
  }

  private update(next: readonly Outcome[]): void {
    this.current = next
    for (const listener of this.listeners) listener(next)
  }
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function OutcomeList({ outcomes }: { outcomes: Outcomes }) {
  const [list, setList] = useState(outcomes.list)
  useEffect(() => outcomes.subscribe(setList), [outcomes])
  return (
    <div class="outcomes" role="log" aria-live="polite" aria-label="Outcomes">
      {list.map(({ id, text, isGood }) => (
        <div key={id} class={isGood ? 'outcome good' : 'outcome bad'}>
          <span aria-hidden="true">{isGood ? '✓' : '✕'}</span>
          <span class="outcome-text">{text}</span>
          <button type="button" onClick={() => outcomes.dismiss(id)} aria-label={`Dismiss: ${text}`}>
            ×
          </button>
        </div>
      ))}
    </div>
  )
}
