/** Events, one row each. */
import { DataTable } from './data-table.js'
import type { EventJson } from './events-client.js'
import { preciseClockText, valueText } from './format.js'
import type { ChangeView } from './page-view.js'

interface Props {
  readonly label: string
  readonly events: readonly EventJson[]
  /** Absent: keys lead nowhere. */
  readonly change?: ChangeView
}

export function EventTable({ label, events, change }: Props) {
  return (
    <DataTable label={label} columns={['Time', 'Stream', 'Key', 'Type', 'Shard', 'Offset', 'Payload']}>
      {events.map(({ id, stream, key, type, shard, epoch, offset, at, payload }) => (
        <tr key={`${shard} ${epoch} ${offset} ${id}`} data-event={id}>
          <td class="figure" data-tip={`${at}\nid ${id}`}>
            {preciseClockText(Date.parse(at))}
          </td>
          <td>{stream}</td>
          <th scope="row">
            {change === undefined ? (
              key
            ) : (
              <button type="button" class="opener" onClick={() => change({ stream, key })}>
                {key}
              </button>
            )}
          </th>
          <td>{type === '' ? '–' : type}</td>
          <td class="figure" data-tip={`epoch ${epoch}`}>
            {shard}
          </td>
          <td class="figure">{offset}</td>
          <td>
            <code>{valueText(payload)}</code>
          </td>
        </tr>
      ))}
    </DataTable>
  )
}
