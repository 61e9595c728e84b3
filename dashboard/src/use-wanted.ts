/** An answer in a panel that is asked for while the panel is in sight only. */
import type { RefObject } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import type { LiveData } from './live-data.js'
import { type Known, type Question, WantedData } from './wanted-data.js'

/** Tells the data whether the panel is in sight. */
export function useSight<T>(panel: RefObject<HTMLElement>, data: WantedData<T>): void {
  useEffect(() => {
    const element = panel.current
    if (element === null) return
    const observer = new IntersectionObserver((entries) => data.want(entries.at(-1)?.isIntersecting ?? false))
    observer.observe(element)
    return () => {
      observer.disconnect()
      data.want(false)
    }
  }, [panel, data])
}

/** What is known at the moment, drawn again whenever that changes. */
export function useKnown<T>(data: WantedData<T>): Known<T> {
  const [, setKnown] = useState(data.known)
  useEffect(() => {
    setKnown(data.known)
    return data.subscribe(setKnown)
  }, [data])
  return data.known
}

/** `key` names the question: under another one all begins anew. */
export function useWanted<T>(
  live: LiveData,
  panel: RefObject<HTMLElement>,
  key: string,
  question: Question<T>,
): WantedData<T> {
  const data = useMemo(() => new WantedData(live, question), [live, key])
  useEffect(() => data.open(), [data])
  useSight(panel, data)
  return data
}
