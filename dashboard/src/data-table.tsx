/** A plain table inside a panel; too wide or too long, it scrolls in itself, also by keyboard. */
import type { ComponentChildren } from 'preact'

interface Props {
  readonly label: string
  readonly columns: readonly string[]
  /** Rows. */
  readonly children: ComponentChildren
}

export function DataTable({ label, columns, children }: Props) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a pointer
    <section class="table-frame" aria-label={label} tabIndex={0}>
      <table class="data" aria-label={label}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  )
}
