/** The options of a node for people, from their table. */
import { type Option, options } from '../../src/config/options.js'

export function optionsPage(): string {
  return [
    '# Options',
    '',
    'Made from the table of options (`src/config/options.ts`) by `npm run docs:generate`; what is written here by hand is lost.',
    '',
    'Of `skein start`, and under their keys of `createNode`. Precedence: flag, variable, the variable of an older system, config file (`--config FILE`: JSON, by key or by the name of the flag), preset,',
    'default. All mistakes are reported at once; `skein start --print-config` shows each value and where it came from.',
    '',
    '| flag | key, variable | allowed | default | meaning, and the cost of being wrong |',
    '| --- | --- | --- | --- | --- |',
    ...options.map(row),
  ].join('\n')
}

function row(option: Option): string {
  const { key, flag, aliases = [], older = [], doc } = option
  const flags = [flag, ...aliases].map((name) => `\`--${name}\``).join(', ')
  const variables = [
    `\`SKEIN_${flag.replaceAll('-', '_').toUpperCase()}\``,
    ...older.map(({ name, part }) => `\`${name}\`${part === undefined ? '' : ` (${part})`}`),
  ]
  const cells = [flags, [`\`${key}\``, ...variables].join(', '), allowedOf(option), defaultOf(option), doc]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function allowedOf(option: Option): string {
  switch (option.kind) {
    case 'text':
      return option.allowed ?? 'text'
    case 'integer':
      return `${option.min} to ${option.max}${option.unit === undefined ? '' : ` ${option.unit}`}`
    case 'boolean':
      return 'flag'
    case 'choice':
      return option.choices.join(', ')
    case 'labels':
      return 'k=v, repeated or joined by commas'
    default:
      return 'repeatable, or joined by commas'
  }
}

function defaultOf(option: Option): string {
  if (option.isSecret === true || option.default === undefined) return ''
  if (typeof option.default === 'object')
    return Object.keys(option.default).length === 0 ? 'none' : `\`${JSON.stringify(option.default)}\``
  return option.default === '' ? 'none' : `\`${option.default}\``
}
