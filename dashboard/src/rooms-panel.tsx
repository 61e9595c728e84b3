/** The rooms with somebody in them, and on which nodes they are. */
import { DataTable } from './data-table.js'
import { countText } from './format.js'
import type { LiveData } from './live-data.js'
import type { ChangeView, PageView } from './page-view.js'
import { fetchRooms, type RoomJson, roomsShownMax } from './rooms-client.js'
import { SearchInput } from './search-input.js'
import { WantedPanel } from './wanted-panel.js'

interface Props {
  readonly live: LiveData
  readonly view: PageView
  readonly change: ChangeView
}

export function RoomsPanel({ live, view, change }: Props) {
  const { rooms: prefix } = view
  return (
    <WantedPanel
      {...{ live }}
      id="rooms"
      title="Rooms"
      asking={prefix}
      question={{ ask: () => fetchRooms(prefix) }}
      aside={(rooms) =>
        rooms.length > roomsShownMax ? `the first ${roomsShownMax}` : countText(rooms.length)
      }
      bar={
        <search class="bar" aria-label="Find rooms">
          <SearchInput
            label="Rooms that begin with"
            placeholder="begins with …"
            text={prefix}
            onText={(rooms) => change({ rooms })}
          />
        </search>
      }
    >
      {(rooms) =>
        rooms.length === 0 ? (
          <p class="empty">
            {prefix === '' ? 'Nobody is in any room: ' : 'Nobody is in a room that begins so: '}
            <code>skein rooms listen {prefix === '' ? 'ROOM' : prefix}</code>
          </p>
        ) : (
          <DataTable label="Rooms" columns={['Room', 'Clients', 'On']}>
            {rooms.slice(0, roomsShownMax).map((room) => (
              <Row key={room.room} room={room} onOpen={() => change({ room: room.room })} />
            ))}
          </DataTable>
        )
      }
    </WantedPanel>
  )
}

function Row({
  room: { room, history, clients, nodes },
  onOpen,
}: {
  readonly room: RoomJson
  readonly onOpen: () => void
}) {
  return (
    <tr data-room={room}>
      <th scope="row">
        <button type="button" class="opener" onClick={onOpen}>
          {room}
        </button>
        {history ? <span class="tag">history</span> : null}
      </th>
      <td class="figure">{countText(clients)}</td>
      <td>{nodes.map((each) => `${each.node_id} ${countText(each.clients)}`).join(', ')}</td>
    </tr>
  )
}
