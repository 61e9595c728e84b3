/** What the CLI prints: aligned tables, colours on a terminal only, lines cut to a width. */
import { stripVTControlCharacters, styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

const isColourful = process.stdout.isTTY === true && process.env.NO_COLOR === undefined

export function paint(style: Style, text: string): string {
  return isColourful ? styleText(style, text) : text
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2))
}

/** For people, beside the result. */
export function tell(text: string): void {
  process.stderr.write(`${text}\n`)
}

export function printLines(lines: readonly string[]): void {
  if (lines.length > 0) print(lines.join('\n'))
}

/** Of a terminal that may not know it: some say nothing, or nought. */
export function sizeOf({ columns = 0, rows = 0 }: { readonly columns?: number; readonly rows?: number }): {
  readonly columns: number
  readonly rows: number
} {
  return { columns: columns > 0 ? columns : 80, rows: rows > 0 ? rows : 24 }
}

/** Columns as wide as their widest cell; the first row is the heading. */
export function table(heading: readonly string[], rows: readonly (readonly unknown[])[]): string[] {
  const cells = [heading, ...rows].map((row) => row.map((cell) => String(cell ?? '')))
  const widths = heading.map((_, i) => cells.reduce((max, row) => Math.max(max, widthOf(row[i] ?? '')), 0))
  return cells.map((row, n) => {
    const line = row
      .map((cell, i) => cell + ' '.repeat(i === row.length - 1 ? 0 : (widths[i] as number) - widthOf(cell)))
      .join('  ')
    return n === 0 ? paint('bold', line) : line
  })
}

export function printTable(heading: readonly string[], rows: readonly (readonly unknown[])[]): void {
  printLines(table(heading, rows))
}

/** One line per field of an object. */
export function fields(value: Readonly<Record<string, unknown>>): string[] {
  const width = Object.keys(value).reduce((max, key) => Math.max(max, key.length), 0)
  return Object.entries(value).map(
    ([key, field]) =>
      `${key.padEnd(width)}  ${typeof field === 'object' ? JSON.stringify(field) : String(field)}`,
  )
}

/** A value in one short line of JSON. */
export function short(value: unknown, charactersMax = 60): string {
  const text = JSON.stringify(value) ?? ''
  return text.length > charactersMax ? `${text.slice(0, charactersMax - 3)}...` : text
}

/** On the screen: colours take no room. */
export function widthOf(cell: string): number {
  return stripVTControlCharacters(cell).length
}

const csi = '\u001b'
const control = new RegExp(`${csi}\\[[0-9;]*m`, 'y')

/** The beginning of a line that fits, its colours ended. What would move the cursor is left out: names come from anywhere. */
export function clip(line: string, width: number): string {
  let out = ''
  let columns = 0
  let isColoured = false
  for (let at = 0; at < line.length; ) {
    control.lastIndex = at
    const colour = control.exec(line)?.[0]
    if (colour !== undefined) {
      out += colour
      isColoured = true
      at += colour.length
      continue
    }
    const character = String.fromCodePoint(line.codePointAt(at) as number)
    at += character.length
    if (isControl(character)) continue
    if (columns === width) break
    out += character
    columns++
  }
  return isColoured ? `${out}${csi}[0m` : out
}

function isControl(character: string): boolean {
  const code = character.codePointAt(0) as number
  return code < 0x20 || (code >= 0x7f && code < 0xa0)
}
