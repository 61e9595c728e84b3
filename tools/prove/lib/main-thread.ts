/** What a page's main thread did, from the browser's own trace: each of its tasks, in time on the processor. Other work of the machine does not count, whatever the clock says. */

interface TraceEvent {
  readonly name: string
  readonly ph: string
  readonly pid: number
  readonly tid: number
  /** When it began, microseconds. */
  readonly ts: number
  /** Microseconds by the clock, and on the processor. */
  readonly dur?: number
  readonly tdur?: number
  readonly args?: { readonly name?: string; readonly data?: { readonly message?: string } }
}

export interface Task {
  readonly clockMs: number
  readonly cpuMs: number
}

/** The browser hands its trace over in the page's own thread, which is no work of the page's: what comes after this sign does not count. */
export const endSign = 'the end of what is measured'
/** What a trace must have for `tasksIn`. */
export const traceCategories = ['toplevel', 'devtools.timeline']

/** Of the page: the renderer with the most tasks. */
export function tasksIn(trace: Buffer): readonly Task[] {
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: readonly TraceEvent[] }
  const sign = traceEvents.find(({ name, args }) => name === 'TimeStamp' && args?.data?.message === endSign)
  if (sign === undefined) throw new Error('the trace has no sign of its end')
  const byThread = new Map<string, Task[]>()
  const threadOf = ({ pid, tid }: TraceEvent): string => `${pid}/${tid}`
  for (const event of traceEvents)
    if (event.name === 'thread_name' && event.args?.name === 'CrRendererMain')
      byThread.set(threadOf(event), [])
  for (const event of traceEvents)
    if (event.ph === 'X' && event.name.endsWith('RunTask') && event.tdur !== undefined && event.ts < sign.ts)
      byThread.get(threadOf(event))?.push({ clockMs: (event.dur ?? 0) / 1_000, cpuMs: event.tdur / 1_000 })
  return [...byThread.values()].toSorted((a, b) => b.length - a.length)[0] ?? []
}
