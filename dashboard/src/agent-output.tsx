/**
 * One agent as it happens: its state and, of a process, its output over server-sent events. The newest lines are kept; while paused they are
 * collected and counted, not shown.
 */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { type AgentJson, agentStreamPath, type OutputLineJson } from './agents-client.js'
import { clockText, countText } from './format.js'

const linesKeptMax = 500
const textShownMax = 2_000
const paintMs = 100
const reopenMs = 2_000

export interface AgentStream {
  /** As the stream last said; null before it did. */
  readonly agent: AgentJson | null
  readonly lines: readonly OutputLineJson[]
  readonly isOpen: boolean
  /** The node has said that there is no such agent. */
  readonly isGone: boolean
  /** Why there is nothing more to come, or no way to it; null when all is well. */
  readonly error: string | null
}

const nothing: AgentStream = { agent: null, lines: [], isOpen: false, isGone: false, error: null }

/** Follows the agent while the page is in sight, through restarts of the node that answers. */
export function useAgentStream(name: string): AgentStream {
  const [stream, setStream] = useState(nothing)
  useEffect(() => {
    let source: EventSource | undefined
    let reopen: ReturnType<typeof setTimeout> | undefined
    let paint: ReturnType<typeof setTimeout> | undefined
    let current = nothing
    setStream(nothing)
    const update = (change: Partial<AgentStream>): void => {
      current = { ...current, ...change }
      // Many lines may come at once: each is not worth a picture.
      paint ??= setTimeout(() => {
        paint = undefined
        setStream(current)
      }, paintMs)
    }
    const close = (): void => {
      clearTimeout(reopen)
      source?.close()
      source = undefined
    }
    const open = (): void => {
      close()
      if (document.hidden) return
      const opened = new EventSource(agentStreamPath(name))
      source = opened
      opened.onopen = () => update({ isOpen: true, isGone: false, error: null })
      opened.onerror = () => {
        update({ isOpen: false })
        // Refused for good, as the browser sees it; the node may be back by then.
        if (opened.readyState === EventSource.CLOSED) reopen = setTimeout(open, reopenMs)
      }
      opened.addEventListener('output', ({ data }) => {
        const line = parse<OutputLineJson>(data)
        if (line !== null) update({ lines: withLine(current.lines, line) })
      })
      opened.addEventListener('status', ({ data }) => {
        const agent = parse<AgentJson>(data)
        if (agent !== null) update({ agent, error: null })
      })
      opened.addEventListener('error', (event) => {
        if (!(event instanceof MessageEvent)) return
        const problem = parse<{ detail?: string; status?: number }>(event.data)
        update({ error: problem?.detail ?? 'the node could not say' })
        if (problem?.status !== 404) return
        close()
        update({ agent: null, isOpen: false, isGone: true })
      })
    }
    const onVisibility = (): void => {
      if (!document.hidden) open()
      else {
        close()
        update({ isOpen: false })
      }
    }
    document.addEventListener('visibilitychange', onVisibility)
    open()
    return () => {
      document.removeEventListener('visibilitychange', onVisibility)
      clearTimeout(paint)
      close()
    }
  }, [name])
  return stream
}

/** A stream that was opened anew tells again what it told before. */
function withLine(lines: readonly OutputLineJson[], line: OutputLineJson): readonly OutputLineJson[] {
  const last = lines.at(-1)
  const isOld =
    last !== undefined && (line.epoch < last.epoch || (line.epoch === last.epoch && line.seq <= last.seq))
  return isOld ? lines : [...lines, line].slice(-linesKeptMax)
}

function parse<T>(data: unknown): T | null {
  try {
    return JSON.parse(String(data)) as T
  } catch {
    return null
  }
}

export function OutputView({ name, stream }: { readonly name: string; readonly stream: AgentStream }) {
  const { lines, isOpen } = stream
  const [held, setHeld] = useState<readonly OutputLineJson[] | null>(null)
  const view = useRef<HTMLDivElement>(null)
  const isAtEnd = useRef(true)
  const shown = held ?? lines
  const last = shown.at(-1)
  useLayoutEffect(() => {
    const element = view.current
    if (element !== null && isAtEnd.current) element.scrollTop = element.scrollHeight
  }, [last])
  const heldLast = held?.at(-1)
  const waiting =
    held === null
      ? 0
      : lines.length - 1 - lines.findLastIndex((l) => l.epoch === heldLast?.epoch && l.seq === heldLast?.seq)
  return (
    <section aria-labelledby="output-title">
      <div class="panel-head">
        <h3 id="output-title">Output</h3>
        <span class="aside" data-testid="output-state">
          {isOpen ? 'live' : 'not connected'}
          {held === null ? '' : `, paused, ${countText(waiting)} new lines wait`}
        </span>
        <button
          type="button"
          aria-pressed={held !== null}
          onClick={() => setHeld(held === null ? lines : null)}
        >
          {held === null ? 'Pause output' : 'Go on'}
        </button>
      </div>
      <div
        class="output"
        ref={view}
        role="log"
        aria-live="off"
        aria-label={`Output of ${name}, the newest ${linesKeptMax} lines at most`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keys
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          isAtEnd.current = scrollHeight - scrollTop - clientHeight < 8
        }}
      >
        {shown.length === 0 ? <span class="aside">It has written nothing yet.</span> : null}
        {shown.map(({ seq, epoch, stream: from, text, at }) => (
          <div key={`${epoch} ${seq}`} class={from}>
            <time dateTime={at}>{clockText(Date.parse(at))}</time>
            {from === 'stderr' ? <span class="visually-hidden">error output: </span> : null}
            {text.length > textShownMax ? `${text.slice(0, textShownMax)}…` : text}
          </div>
        ))}
      </div>
    </section>
  )
}
