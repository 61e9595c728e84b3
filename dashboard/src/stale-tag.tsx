/** Marks what could not be asked for again, with how old it is and why. */
import { agoText } from './format.js'

interface Props {
  readonly testId: string
  readonly freshAtMs: number
  readonly error: string | null
}

export function StaleTag({ testId, freshAtMs, error }: Props) {
  return (
    <span class="tag warn" data-testid={testId}>
      stale, as of {agoText(new Date(freshAtMs).toISOString(), Date.now())}
      {error === null ? '' : `: ${error}`}
    </span>
  )
}
