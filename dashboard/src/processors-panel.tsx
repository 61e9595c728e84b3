/** The processors: which there are and where, what runs at the moment, and how the streams that are processed under load are shared out. */
import { DataTable } from './data-table.js'
import { countText } from './format.js'
import type { LiveData } from './live-data.js'
import { fetchProcessors, type ProcessorListJson } from './processors-client.js'
import { RunTable } from './run-table.js'
import { StreamTable } from './stream-table.js'
import { WantedPanel } from './wanted-panel.js'

interface Props {
  readonly live: LiveData
  readonly nowMs: number
  readonly mayAct: boolean
  readonly onKill: (id: string) => void
}

export function ProcessorsPanel({ live, nowMs, mayAct, onKill }: Props) {
  return (
    <WantedPanel
      {...{ live }}
      id="processors"
      title="Processors"
      isWide
      question={{ ask: fetchProcessors }}
      aside={({ count, running }) => `${countText(count)}, ${countText(running.length)} running`}
    >
      {(all) => (
        <>
          <Nodes nodes={all.nodes} />
          {all.count === 0 ? (
            <p class="empty">
              No node has a processor: <code>skein start --load MODULE</code> registers what{' '}
              <code>defineProcessor</code> made in it
            </p>
          ) : (
            <Registered processors={all.processors} />
          )}
          <h3>Running</h3>
          {all.running.length === 0 ? (
            <p class="empty">
              Nothing runs: <code>skein spawn {all.processors[0]?.name ?? 'NAME'} ARGS</code>
            </p>
          ) : (
            <RunTable {...{ runs: all.running, nowMs, mayAct, onKill }} />
          )}
          <h3>Load per stream</h3>
          {all.streams.length === 0 ? (
            <p class="empty">
              No stream is shared out: <code>node.processors.process(STREAM, PROCESSOR)</code>
            </p>
          ) : (
            <StreamTable streams={all.streams} />
          )}
        </>
      )}
    </WantedPanel>
  )
}

function Nodes({ nodes }: { readonly nodes: ProcessorListJson['nodes'] }) {
  return (
    <ul class="legend" aria-label="Runs per node">
      {nodes.map(({ node_id, running, running_max, error }) => (
        <li key={node_id} class={error === undefined ? undefined : 'warn'}>
          <b>{node_id}</b> {error === undefined ? `${running} of ${running_max}` : `did not answer: ${error}`}
        </li>
      ))}
    </ul>
  )
}

function Registered({ processors }: { readonly processors: ProcessorListJson['processors'] }) {
  return (
    <DataTable label="Registered processors" columns={['Processor', 'On', 'May be run again']}>
      {processors.map(({ name, nodes, is_idempotent }) => (
        <tr key={name} data-processor={name}>
          <th scope="row">{name}</th>
          <td>{nodes.join(', ')}</td>
          <td>{is_idempotent ? 'yes, it is idempotent' : 'no'}</td>
        </tr>
      ))}
    </DataTable>
  )
}
