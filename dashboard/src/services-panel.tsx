/** The services: who offers which version, how well, and what can be called. One row each; the instances open under it. */
import { DataTable } from './data-table.js'
import { countText } from './format.js'
import type { LiveData } from './live-data.js'
import type { ChangeView, PageView } from './page-view.js'
import { fetchServices, type InstanceJson, type ServiceJson } from './registry-client.js'
import { SearchInput } from './search-input.js'
import { WantedPanel } from './wanted-panel.js'

const shownMax = 200

interface Props {
  readonly live: LiveData
  readonly view: PageView
  readonly change: ChangeView
}

export function ServicesPanel({ live, view, change }: Props) {
  return (
    <WantedPanel
      {...{ live }}
      id="services"
      title="Services"
      question={{ ask: fetchServices }}
      aside={(services) => countText(services.length)}
    >
      {(services) =>
        services.length === 0 ? (
          <p class="empty">
            No program offers a service yet: <code>node.services.provide(NAME, METHODS)</code> in a module of{' '}
            <code>skein start --load MODULE</code>; then <code>skein services ls</code>
          </p>
        ) : (
          <ServiceTable {...{ services, view, change }} />
        )
      }
    </WantedPanel>
  )
}

function ServiceTable({
  services,
  view,
  change,
}: Omit<Props, 'live'> & { readonly services: readonly ServiceJson[] }) {
  const text = view.services.trim().toLowerCase()
  const found = services.filter((each) => textOf(each).includes(text))
  return (
    <>
      <search class="bar" aria-label="Filter the services">
        <SearchInput
          label="Text in the services"
          placeholder="name, method, node …"
          text={view.services}
          onText={(services) => change({ services })}
        />
        {found.length > shownMax ? <span class="aside">the first {shownMax}</span> : null}
      </search>
      {found.length === 0 ? <p class="empty">No service is like that.</p> : null}
      {found.length === 0 ? null : (
        <DataTable label="Services" columns={['Service', 'Versions', 'Instances', 'In flight']}>
          {found.slice(0, shownMax).map((service) => (
            <ServiceRows
              key={service.name}
              service={service}
              isOpen={view.service === service.name}
              onToggle={() => change({ service: view.service === service.name ? '' : service.name })}
            />
          ))}
        </DataTable>
      )}
    </>
  )
}

function textOf({ name, instances }: ServiceJson): string {
  const rest = instances.flatMap(({ node_id, methods }) => [node_id, ...methods.map((method) => method.name)])
  return [name, ...rest].join(' ').toLowerCase()
}

interface RowProps {
  readonly service: ServiceJson
  readonly isOpen: boolean
  readonly onToggle: () => void
}

function ServiceRows({ service: { name, versions, instances }, isOpen, onToggle }: RowProps) {
  const usable = instances.filter(({ healthy, circuit }) => healthy && circuit !== 'open').length
  const inFlight = instances.reduce((sum, instance) => sum + instance.in_flight, 0)
  const id = `service-${name}`
  return (
    <>
      <tr data-service={name}>
        <th scope="row">
          <button type="button" class="opener" aria-expanded={isOpen} aria-controls={id} onClick={onToggle}>
            <span aria-hidden="true">{isOpen ? '▾' : '▸'}</span> {name}
          </button>
        </th>
        <td>{versions.join(', ')}</td>
        <td class={usable === instances.length ? 'good' : usable === 0 ? 'bad' : 'warn'}>
          <span aria-hidden="true">{usable === instances.length ? '●' : usable === 0 ? '✕' : '▲'}</span>{' '}
          {usable} of {instances.length} take calls
        </td>
        <td class="figure">{countText(inFlight)}</td>
      </tr>
      {isOpen ? (
        <tr id={id} class="inner">
          <td colSpan={4}>
            <Instances name={name} instances={instances} />
          </td>
        </tr>
      ) : null}
    </>
  )
}

function Instances({
  name,
  instances,
}: {
  readonly name: string
  readonly instances: readonly InstanceJson[]
}) {
  return (
    <DataTable
      label={`Instances of ${name}`}
      columns={['Node', 'Version', 'Zone', 'Health', 'Circuit', 'In flight', 'Methods']}
    >
      {instances.map((instance) => (
        <tr key={`${instance.node_id} ${instance.version}`} data-instance={instance.node_id}>
          <th scope="row">{instance.node_id}</th>
          <td>{instance.version}</td>
          <td>{instance.zone === '' ? '–' : instance.zone}</td>
          <td class={instance.healthy ? 'good' : 'bad'}>
            <span aria-hidden="true">{instance.healthy ? '●' : '✕'}</span>{' '}
            {instance.healthy ? 'healthy' : 'unhealthy'}
          </td>
          <td class={circuitTones[instance.circuit]} data-tip="as the node that serves this page has it">
            {instance.circuit.replace('_', ' ')}
          </td>
          <td class="figure">{instance.in_flight}</td>
          <td>
            <ul class="methods">
              {instance.methods.map(({ name: method, idempotent, stream }) => (
                <li key={method}>
                  <code>{method}</code>
                  {idempotent ? <span class="tag">idempotent</span> : null}
                  {stream ? <span class="tag">stream</span> : null}
                </li>
              ))}
            </ul>
          </td>
        </tr>
      ))}
    </DataTable>
  )
}

const circuitTones: Readonly<Record<InstanceJson['circuit'], string>> = {
  closed: 'good',
  half_open: 'warn',
  open: 'bad',
}
