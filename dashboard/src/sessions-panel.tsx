/** The sessions: whose they are, which node has them, and where they are in. */
import { DataTable } from './data-table.js'
import { agoText, countText } from './format.js'
import type { LiveData } from './live-data.js'
import type { ChangeView, PageView } from './page-view.js'
import { fetchSessions, type SessionJson } from './rooms-client.js'
import { SearchInput } from './search-input.js'
import { WantedPanel } from './wanted-panel.js'

const roomsNamedMax = 8

interface Props {
  readonly live: LiveData
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
}

export function SessionsPanel({ live, nowMs, view, change }: Props) {
  const { user } = view
  return (
    <WantedPanel
      {...{ live }}
      id="sessions"
      title="Sessions"
      asking={user}
      question={{ ask: () => fetchSessions(user) }}
      aside={({ count, total }) =>
        count < total ? `the first ${countText(count)} of ${countText(total)}` : countText(total)
      }
      bar={
        <search class="bar" aria-label="Find sessions">
          <SearchInput
            label="Sessions of the user"
            placeholder="of the user …"
            text={user}
            onText={(user) => change({ user })}
          />
        </search>
      }
    >
      {({ sessions }) =>
        sessions.length === 0 ? (
          <p class="empty">
            {user === '' ? 'No client is connected: ' : `${user} has no session: `}
            <code>skein rooms listen ROOM</code>, or <code>new SkeinClient()</code> of skein/client
          </p>
        ) : (
          <DataTable label="Sessions" columns={['User', 'Session', 'Node', 'Since', 'Rooms']}>
            {sessions.map((session) => (
              <Row key={session.id} {...{ session, nowMs, change }} />
            ))}
          </DataTable>
        )
      }
    </WantedPanel>
  )
}

interface RowProps {
  readonly session: SessionJson
  readonly nowMs: number
  readonly change: ChangeView
}

function Row({ session: { id, user, node, connected, since, rooms }, nowMs, change }: RowProps) {
  return (
    <tr data-session={id}>
      <th scope="row">{user}</th>
      <td class="mono" data-tip={id}>
        {id.slice(0, 12)}
        {id.length > 12 ? '…' : ''}
      </td>
      <td>
        {node}
        {connected ? null : (
          <span class="tag warn" data-tip="it may go on anywhere within two minutes">
            connection lost
          </span>
        )}
      </td>
      <td class="figure" data-tip={since}>
        {agoText(since, nowMs)}
      </td>
      <td>
        {rooms.slice(0, roomsNamedMax).map((room) => (
          <button key={room} type="button" class="key" onClick={() => change({ room })}>
            {room}
          </button>
        ))}
        {rooms.length > roomsNamedMax ? ` and ${rooms.length - roomsNamedMax} more` : ''}
      </td>
    </tr>
  )
}
