/** Planned moves of agents: the balance of the nodes before and after as bars, then the moves themselves, the first of many. */
import type { MoveJson } from './agents-client.js'
import { countText } from './format.js'
import type { NodeJson } from './http-client.js'

const listedMax = 100

interface Props {
  readonly moves: readonly MoveJson[]
  readonly nodes: readonly NodeJson[]
}

export function MoveList({ moves, nodes }: Props) {
  if (moves.length === 0) return <p class="empty">Nothing would move.</p>
  return (
    <>
      <Shift moves={moves} nodes={nodes} />
      <ol class="moves" aria-label="Moves">
        {moves.slice(0, listedMax).map(({ agent, from, to, why }) => (
          <li key={agent} data-move={agent}>
            <b>{agent}</b> {from} → {to} <span class="aside">{why}</span>
          </li>
        ))}
      </ol>
      {moves.length > listedMax ? <p class="aside">and {countText(moves.length - listedMax)} more</p> : null}
    </>
  )
}

function Shift({ moves, nodes }: Props) {
  const change = new Map<string, number>()
  for (const { from, to } of moves) {
    change.set(from, (change.get(from) ?? 0) - 1)
    change.set(to, (change.get(to) ?? 0) + 1)
  }
  const rows = nodes
    .filter(({ status, id }) => status !== 'offline' || change.has(id))
    .map(({ id, active_agents }) => ({
      id,
      before: active_agents,
      after: active_agents + (change.get(id) ?? 0),
    }))
  const most = rows.reduce((max, { before, after }) => Math.max(max, before, after), 1)
  return (
    <table class="shift">
      <caption class="visually-hidden">Agents per node, before and after</caption>
      <thead class="visually-hidden">
        <tr>
          <th scope="col">Node</th>
          <th scope="col">Bars</th>
          <th scope="col">Agents, before and after</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ id, before, after }) => (
          <tr key={id}>
            <th scope="row">{id}</th>
            <td class="shift-bars" aria-hidden="true">
              <span class="bar-before" style={{ width: `${(before / most) * 100}%` }} />
              <span class="bar-after" style={{ width: `${(Math.max(0, after) / most) * 100}%` }} />
            </td>
            <td class="figure">
              {before} → {Math.max(0, after)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
