/** How the streams that are processed are shared out: what waits, and who helps. */
import { DataTable } from './data-table.js'
import { countText } from './format.js'
import type { StreamLoadJson } from './processors-client.js'

const columns = [
  'Stream',
  'Processor',
  'Owner',
  'Shards',
  'Waiting',
  'Lent',
  'At work',
  'Processed',
  'Refused',
]

export function StreamTable({ streams }: { readonly streams: readonly StreamLoadJson[] }) {
  return (
    <DataTable label="Load per stream" columns={columns}>
      {streams.map((each) => (
        <tr key={`${each.stream} ${each.group} ${each.node_id}`} data-stream={each.stream}>
          <th scope="row">
            {each.stream}
            {each.group === `${each.stream}/${each.processor}` ? null : <span class="tag">{each.group}</span>}
          </th>
          <td>{each.processor}</td>
          <td>{each.node_id}</td>
          <td class="figure">{each.shards}</td>
          <td class={each.waiting > 0 ? 'figure hot' : 'figure'}>{countText(each.waiting)}</td>
          <td class="figure">{countText(each.lent)}</td>
          <td>
            {each.processors}
            {each.helpers.length === 0 ? '' : `, helped by ${each.helpers.join(', ')}`}
          </td>
          <td class="figure">
            {countText(each.processed)}
            {each.processed_by_helpers === 0 ? '' : ` + ${countText(each.processed_by_helpers)} by helpers`}
          </td>
          <td class="figure" data-tip="results of batches that were lent no more">
            {countText(each.refused_results)}
          </td>
        </tr>
      ))}
    </DataTable>
  )
}
