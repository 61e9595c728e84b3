/** What everything stands on: store, journal, lease, quorum, and which builds run. */

import { durationText } from './format.js'
import type { ClusterStatusJson, NodeJson } from './http-client.js'
import { memo } from './memo.js'

interface Props {
  readonly status: ClusterStatusJson
  readonly nodes: readonly NodeJson[]
  readonly isReplay: boolean
}

export const GroundPanel = memo(function GroundPanel({ status, nodes, isReplay }: Props) {
  const { store, journal, lease_remaining_ms, shards_open, shards_total, format_level, is_quorum_available } =
    status
  const builds = new Map<string, number>()
  for (const { version, kind, observed } of nodes)
    if (kind === 'node' && observed !== 'left') builds.set(version, (builds.get(version) ?? 0) + 1)
  const unconfirmed = nodes.reduce((sum, each) => sum + each.unconfirmed_events, 0)
  const facts: readonly (readonly [name: string, isWell: boolean, text: string])[] = [
    ['Store', store.ok, `${store.driver}${store.ok ? '' : `: ${store.detail}`}`],
    ['Journal', journal.ok, `${journal.driver}${journal.ok ? '' : `: ${journal.detail}`}`],
    ['Quorum', is_quorum_available, is_quorum_available ? 'the store answers' : 'the store does not answer'],
    [
      `Lease of ${status.node.id}`,
      lease_remaining_ms > 0,
      lease_remaining_ms > 0 ? `good for ${durationText(lease_remaining_ms)}` : 'lost: it may own nothing',
    ],
    ['Shards', shards_open === shards_total, `${shards_open} of ${shards_total} take writes`],
    ['Events on their way to disk', true, String(unconfirmed)],
    [
      'Builds',
      builds.size <= 1,
      [...builds].map(([version, count]) => `${version} on ${count}`).join(', ') || 'unknown',
    ],
    ['Format', true, `level ${format_level}`],
  ]
  return (
    <section class="panel" id="ground" aria-labelledby="ground-title">
      <div class="panel-head">
        <h2 id="ground-title">What it stands on{isReplay ? ', now' : ''}</h2>
        <span class="aside">as {status.node.id} has it</span>
      </div>
      <dl class="facts">
        {facts.map(([name, isWell, text]) => (
          <div key={name} class="fact">
            <dt>{name}</dt>
            <dd class={isWell ? undefined : 'warn'}>
              <span class={isWell ? 'good' : 'warn'} aria-hidden="true">
                {isWell ? '●' : '▲'}
              </span>{' '}
              {text}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  )
})
