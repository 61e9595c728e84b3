/** The frame of a panel that is asked for while in sight: its title, how fresh it is, what went wrong, and its content once there is an answer. */
import type { ComponentChildren } from 'preact'
import { useRef } from 'preact/hooks'
import type { LiveData } from './live-data.js'
import { StaleTag } from './stale-tag.js'
import { useKnown, useWanted } from './use-wanted.js'
import type { Question } from './wanted-data.js'

interface Props<T> {
  readonly live: LiveData
  /** Of the section; also how an address leads to it. */
  readonly id: string
  readonly title: string
  readonly isWide?: boolean
  /** Names the question: under another key it is another one. */
  readonly asking?: string
  readonly question: Question<T>
  /** Beside the title: how many there are. */
  readonly aside?: (answer: T) => ComponentChildren
  /** What the question is put together with: stays while the answer to another one is awaited. */
  readonly bar?: ComponentChildren
  readonly children: (answer: T, refresh: () => void) => ComponentChildren
}

export function WantedPanel<T>({
  live,
  id,
  title,
  isWide = false,
  asking = '',
  question,
  aside,
  bar,
  children,
}: Props<T>) {
  const panel = useRef<HTMLElement>(null)
  const data = useWanted(live, panel, asking, question)
  const { answer, freshAtMs, error } = useKnown(data)
  const isStale = answer !== null && data.isStale(Date.now())
  return (
    <section class={isWide ? 'panel wide' : 'panel'} id={id} aria-labelledby={`${id}-title`} ref={panel}>
      <div class="panel-head">
        <h2 id={`${id}-title`}>{title}</h2>
        <span class="aside">
          <span data-testid={`${id}-count`}>{answer === null ? '' : aside?.(answer)}</span>
          {isStale ? <StaleTag testId={`${id}-stale`} freshAtMs={freshAtMs} error={error} /> : null}
        </span>
      </div>
      {bar}
      {answer === null ? (
        <p class="empty" role={error === null ? undefined : 'alert'}>
          {error === null ? 'Asking …' : `This could not be read: ${error}`}
        </p>
      ) : (
        <div class={isStale ? 'stale' : undefined}>{children(answer, () => data.refresh())}</div>
      )}
    </section>
  )
}
