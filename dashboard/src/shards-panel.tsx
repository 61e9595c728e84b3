/** The shard map as one small cell per shard, coloured by owner. One tab stop: arrow keys walk the cells, a line tells the facts. */
import { useState } from 'preact/hooks'
import type { ShardJson } from './http-client.js'
import { memo } from './memo.js'
import type { OwnerColors } from './owner-colors.js'
import { unknownEpoch } from './replay.js'

const stepByKey: Readonly<Record<string, number>> = {
  ArrowRight: 1,
  ArrowLeft: -1,
  ArrowDown: 32,
  ArrowUp: -32,
}

/** Stands for "nobody" in the address. */
const nobody = '-'
/** Owners that are named at once; of more, those with the most shards. */
const ownersMax = 24

interface Props {
  readonly shards: readonly ShardJson[]
  readonly colors: OwnerColors
  /** The owner whose shards stand out; empty for none. */
  readonly picked: string
  readonly onPick: (owner: string) => void
}

export const ShardsPanel = memo(function ShardsPanel({ shards, colors, picked, onPick }: Props) {
  const [cursor, setCursor] = useState<number | null>(null)
  const shown = picked === '' ? null : picked === nobody ? '' : picked
  const owned = new Map<string, number>()
  for (const { owner } of shards) owned.set(owner ?? '', (owned.get(owner ?? '') ?? 0) + 1)
  const most = [...owned].toSorted(([, a], [, b]) => b - a).slice(0, ownersMax)
  const owners = most.toSorted(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }))
  const moving = shards.filter(({ state }) => state === 'moving').length
  const current = cursor === null ? undefined : shards[cursor]
  const onKeyDown = (event: KeyboardEvent) => {
    const step = stepByKey[event.key]
    if (step === undefined) return
    event.preventDefault()
    setCursor(Math.min(shards.length - 1, Math.max(0, (cursor ?? 0) + step)))
  }
  return (
    <section class="panel" id="shards" aria-labelledby="shards-title">
      <div class="panel-head">
        <h2 id="shards-title">Shards by owner</h2>
        <span class="aside">
          {shards.length} shards{moving > 0 ? `, ${moving} moving` : ''}
        </span>
      </div>
      {shards.length === 0 ? <p class="empty">The shard map is not made yet: a leader makes it.</p> : null}
      <div
        class={shown === null ? 'shards' : 'shards picked'}
        role="listbox"
        aria-label="Shards; arrow keys walk them"
        aria-activedescendant={current === undefined ? undefined : `shard-${current.shard}`}
        tabIndex={0}
        onKeyDown={onKeyDown}
        onFocus={() => setCursor(cursor ?? 0)}
        onBlur={() => setCursor(null)}
      >
        {shards.map((shard, index) => (
          <Cell
            key={shard.shard}
            number={shard.shard}
            text={shardText(shard)}
            state={shard.state}
            color={colors.of(shard.owner)}
            isShown={shown === (shard.owner ?? '')}
            isCurrent={index === cursor}
          />
        ))}
      </div>
      <ul class="legend" aria-label="Owners">
        {owners.map(([owner, count]) => (
          <li key={owner}>
            <button
              type="button"
              class="key"
              aria-pressed={shown === owner}
              onClick={() => onPick(shown === owner ? '' : owner === '' ? nobody : owner)}
            >
              <span class="swatch" style={{ background: colors.of(owner === '' ? null : owner) }} />{' '}
              {owner === '' ? 'unassigned' : owner} <b>{count}</b>
            </button>
          </li>
        ))}
        {owned.size > owners.length ? <li>and {owned.size - owners.length} more owners</li> : null}
      </ul>
      <p class="aside cursor-line">
        {current === undefined ? '' : shardText(current).replaceAll('\n', ', ')}
      </p>
    </section>
  )
})

interface CellProps {
  readonly number: number
  readonly text: string
  readonly state: ShardJson['state']
  readonly color: string
  readonly isShown: boolean
  readonly isCurrent: boolean
}

const Cell = memo(function Cell({ number, text, state, color, isShown, isCurrent }: CellProps) {
  return (
    <div
      id={`shard-${number}`}
      role="option"
      tabIndex={-1}
      aria-selected={isCurrent}
      aria-label={text}
      class={`cell ${state}${isShown ? ' shown' : ''}`}
      style={{ background: color }}
      data-tip={text}
    />
  )
})

function shardText({ shard, owner, epoch, state, target }: ShardJson): string {
  const move = state === 'moving' && target !== null ? `\nmoving to ${target}` : ''
  return `shard ${shard}\nowner ${owner ?? 'nobody'}\nepoch ${epoch === unknownEpoch ? 'unknown' : epoch}${move}`
}
