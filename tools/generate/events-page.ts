/** What happens in a cluster, for people, from the table of events. */
import { feedEvents } from '../../src/core/kernel/feed-events.js'

export function eventsPage(): string {
  const rows = Object.entries(feedEvents).map(
    ([event, { meaning, fields }]) =>
      `| \`${event}\` | ${meaning} | ${fields.map((field) => `\`${field}\``).join(' ')} |`,
  )
  return [
    '# Events',
    '',
    'Made from the table of events (`src/core/kernel/feed-events.ts`) by `npm run docs:generate`; what is written here by hand is lost.',
    '',
    'What happened, as the node that tells it saw it: in `GET /api/cluster/history`, live in `GET /api/cluster/watch` (server-sent events that resume), on the timeline of the dashboard and in',
    '`skein history`; in the log under the same names. Each has `seq`, `at` and `node_id` (who tells it) beside its own `fields`. A node keeps the last 5,000 of agents and the last 5,000 of all else.',
    '`agent.*` is told by the leader, `self.*` and `lease.*` by the node that they are about.',
    '',
    '| event | meaning | fields |',
    '| --- | --- | --- |',
    ...rows,
  ].join('\n')
}
