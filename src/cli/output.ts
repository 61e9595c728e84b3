/** What the CLI prints: aligned tables, colours on a terminal only. */
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

/** Columns as wide as their widest cell; the first row is the heading. */
export function printTable(heading: readonly string[], rows: readonly (readonly unknown[])[]): void {
  const cells = [heading, ...rows].map((row) => row.map((cell) => String(cell ?? '')))
  const widths = heading.map((_, i) => Math.max(...cells.map((row) => widthOf(row[i] ?? ''))))
  cells.forEach((row, n) => {
    const line = row
      .map((cell, i) => cell + ' '.repeat(i === row.length - 1 ? 0 : (widths[i] as number) - widthOf(cell)))
      .join('  ')
    print(n === 0 ? paint('bold', line) : line)
  })
}

/** On the screen: colours take no room. */
function widthOf(cell: string): number {
  return stripVTControlCharacters(cell).length
}
