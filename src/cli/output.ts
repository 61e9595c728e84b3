/** What the CLI prints: aligned tables, colours on a terminal only. */
import { styleText } from 'node:util'

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
  const widths = heading.map((_, i) => Math.max(...cells.map((row) => (row[i] ?? '').length)))
  cells.forEach((row, n) => {
    const line = row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] as number)))
      .join('  ')
    print(n === 0 ? paint('bold', line) : line)
  })
}
