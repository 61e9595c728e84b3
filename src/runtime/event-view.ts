/** A stored event as programs see it. */
import type { StoredEvent } from '../ports/journal.js'
import type { EventView } from './node-api.js'

export function viewOf(event: StoredEvent): EventView {
  const { id, stream, key, type, shard, epoch, offset, hlc, atMs } = event
  return { id, stream, key, type, payload: JSON.parse(event.payload), shard, epoch, offset, hlc, atMs }
}
