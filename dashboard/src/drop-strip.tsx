/** While an agent is dragged: every node as a place to drop it, wherever the page is scrolled, with what speaks against it. */
import { useEffect } from 'preact/hooks'
import { fetchAgentWhy } from './agents-client.js'
import type { NodeJson } from './http-client.js'
import { useAnswer } from './use-answer.js'

interface Props {
  readonly dragged: string
  readonly nodes: readonly NodeJson[]
  readonly onDrop: (nodeId: string) => void
  readonly onCancel: () => void
}

export function DropStrip({ dragged, nodes, onDrop, onCancel }: Props) {
  const { answer } = useAnswer(`why ${dragged}`, () => fetchAgentWhy(dragged))
  useEffect(() => {
    // A row that is gone by the end of its drag tells no end. A pointer that moves as pointers do is dragging nothing.
    document.addEventListener('pointermove', onCancel)
    return () => document.removeEventListener('pointermove', onCancel)
  }, [onCancel])
  return (
    <div class="drop-strip" aria-hidden="true">
      <p>Drop {dragged} on</p>
      {nodes
        .filter(({ status }) => status !== 'offline')
        .map(({ id, active_agents, max_agents }) => {
          const reasons = answer?.candidates.find(({ node_id }) => node_id === id)?.reasons ?? []
          const isHere = answer?.node_id === id
          return (
            <div
              key={id}
              class={isHere || reasons.length > 0 ? 'drop unfit' : 'drop'}
              data-drop={id}
              {...dropProps(() => onDrop(id))}
            >
              <b>{id}</b> {active_agents}/{max_agents}
              <span class="aside">{isHere ? 'it is here' : (reasons[0] ?? '')}</span>
            </div>
          )
        })}
    </div>
  )
}

/** Makes an element a place to drop an agent on. */
export function dropProps(onDrop: () => void) {
  return {
    onDragEnter: (event: DragEvent) => {
      event.preventDefault()
      ;(event.currentTarget as HTMLElement).classList.add('over')
    },
    onDragOver: (event: DragEvent) => {
      event.preventDefault()
      if (event.dataTransfer !== null) event.dataTransfer.dropEffect = 'move'
    },
    onDragLeave: (event: DragEvent) => {
      const to = event.relatedTarget
      const element = event.currentTarget as HTMLElement
      if (!(to instanceof Node) || !element.contains(to)) element.classList.remove('over')
    },
    onDrop: (event: DragEvent) => {
      event.preventDefault()
      ;(event.currentTarget as HTMLElement).classList.remove('over')
      onDrop()
    },
  }
}
