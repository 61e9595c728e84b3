/** One room: who is in it, on which node and since when, what was said last where that is kept, and a box to say something. */
import { useState } from 'preact/hooks'
import { BroadcastBox } from './broadcast-box.js'
import { DataTable } from './data-table.js'
import { Drawer } from './drawer.js'
import { agoText, clockText, countText, valueText } from './format.js'
import type { Outcomes } from './outcomes.js'
import { fetchMessages, fetchPresence, membersShownMax, type PresenceJson } from './rooms-client.js'
import { useAnswer } from './use-answer.js'

const presenceEveryMs = 2_000

interface Props {
  readonly room: string
  readonly nowMs: number
  readonly mayAct: boolean
  readonly outcomes: Outcomes
  readonly onClose: () => void
}

export function RoomDrawer({ room, nowMs, mayAct, outcomes, onClose }: Props) {
  const { answer, error } = useAnswer(`presence ${room}`, () => fetchPresence(room), presenceEveryMs)
  return (
    <Drawer title={`Room ${room}`} hasAnswer={answer !== null} {...{ error, onClose }}>
      {answer === null ? null : (
        <>
          <Presence presence={answer} nowMs={nowMs} />
          {answer.history ? <Messages room={room} /> : null}
        </>
      )}
      {mayAct ? (
        <BroadcastBox {...{ room, outcomes }} occupants={answer?.clients ?? null} />
      ) : (
        <p class="aside">Saying something to the room needs the role operator.</p>
      )}
    </Drawer>
  )
}

function Presence({ presence, nowMs }: { readonly presence: PresenceJson; readonly nowMs: number }) {
  const { clients, members, incomplete = [] } = presence
  return (
    <section aria-labelledby="presence-title">
      <h3 id="presence-title">
        {clients === 0 ? 'Nobody is here' : `${countText(clients)} here`}
        {members.length < clients ? `, ${countText(members.length)} of them are named` : ''}
      </h3>
      {incomplete.map(({ node_id, error }) => (
        <p key={node_id} class="warn">
          <span aria-hidden="true">▲</span> {node_id} did not say who is here: {error}
        </p>
      ))}
      {members.length === 0 ? null : (
        <DataTable label="Present" columns={['User', 'Node', 'Since', 'Session']}>
          {members.slice(0, membersShownMax).map(({ session, user, node, since }) => (
            <tr key={session} data-member={user}>
              <th scope="row">{user}</th>
              <td>{node}</td>
              <td class="figure">{agoText(since, nowMs)}</td>
              <td class="mono">{session}</td>
            </tr>
          ))}
        </DataTable>
      )}
    </section>
  )
}

/** Page by page from the oldest that is kept: what is read does not move under the reader. */
function Messages({ room }: { readonly room: string }) {
  const [after, setAfter] = useState(0)
  const { answer, error } = useAnswer(
    `messages ${room} ${after}`,
    () => fetchMessages(room, after),
    presenceEveryMs,
  )
  return (
    <section aria-labelledby="messages-title">
      <div class="panel-head">
        <h3 id="messages-title">Messages that are kept</h3>
        <span class="acts">
          <button type="button" disabled={after === 0} onClick={() => setAfter(0)}>
            Oldest
          </button>
          <button
            type="button"
            disabled={answer?.next_after === undefined}
            onClick={() => setAfter(answer?.next_after ?? 0)}
          >
            Next
          </button>
        </span>
      </div>
      {error === null ? null : <p class="bad">The messages could not be read: {error}</p>}
      {answer?.incomplete === undefined ? null : (
        <p class="warn">Not all could be read: {answer.incomplete}</p>
      )}
      {answer?.count === 0 ? <p class="empty">Nothing more was said here.</p> : null}
      <ul class="messages">
        {answer?.messages.map(({ id, at, from, data, position }) => (
          <li key={id} data-tip={position === undefined ? id : `position ${position}, ${id}`}>
            <time dateTime={at}>{clockText(Date.parse(at))}</time>{' '}
            <b>{from.user ?? from.node ?? 'somebody'}</b> <code>{valueText(data, 400)}</code>
          </li>
        ))}
      </ul>
    </section>
  )
}
