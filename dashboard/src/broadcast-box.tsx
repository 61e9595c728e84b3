/** Saying something to all in a room. What was not answered may be sent again: it keeps its id until it is known to be on its way. */
import { useRef, useState } from 'preact/hooks'
import type { Outcomes } from './outcomes.js'
import { broadcast } from './rooms-client.js'

interface Props {
  readonly room: string
  /** Null while that is unknown. */
  readonly occupants: number | null
  readonly outcomes: Outcomes
}

export function BroadcastBox({ room, occupants, outcomes }: Props) {
  const [text, setText] = useState('')
  const [isSending, setIsSending] = useState(false)
  const id = useRef<string | null>(null)
  const send = async (): Promise<void> => {
    setIsSending(true)
    id.current ??= newId()
    const sentId = id.current
    await outcomes.tell(`Saying it to ${room}`, async () => {
      const { status, position } = await broadcast(room, dataOf(text), sentId)
      id.current = null
      setText('')
      const kept = position === null ? '' : `, kept at position ${position}`
      return status === 'duplicate' ? `${room} had it already${kept}` : `Said to ${room}${kept}`
    })
    setIsSending(false)
  }
  return (
    <section aria-labelledby="broadcast-title">
      <h3 id="broadcast-title">Say something to all of them</h3>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault()
          void send()
        }}
      >
        <textarea
          rows={3}
          class="mono"
          aria-label={`Message to ${room}`}
          aria-describedby="broadcast-hint"
          value={text}
          disabled={isSending}
          onInput={({ currentTarget }) => {
            // Another message.
            id.current = null
            setText(currentTarget.value)
          }}
        />
        <p class="aside" id="broadcast-hint">
          JSON, or text where it is not{occupants === 0 ? '. Nobody is here who would hear it' : ''}.
        </p>
        <button type="submit" class="primary" disabled={isSending || text.trim() === ''}>
          Broadcast
        </button>
      </form>
    </section>
  )
}

function dataOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Also where the page did not come over TLS: `randomUUID` is missing there. */
function newId(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, '0')).join('')
}
