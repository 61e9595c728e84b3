/** What a query of PromQL names, by Prometheus' own grammar. */
import { parser } from '@prometheus-io/lezer-promql'

export interface Named {
  readonly metrics: readonly string[]
  /** Of matchers, and of `by`, `without`, `on` and the like. */
  readonly labels: readonly string[]
}

/** Grafana's variables stand for something that Prometheus would understand. Throws where it is no PromQL. */
export function namesIn(query: string): Named {
  const text = query.replaceAll('$__rate_interval', '5m').replaceAll('$at', 'job="a"')
  const metrics = new Set<string>()
  const labels = new Set<string>()
  parser.parse(text).iterate({
    enter: ({ type, node, from, to }) => {
      if (type.isError) throw new Error(`no PromQL at ${from}: ${text}`)
      if (type.name === 'LabelName') labels.add(text.slice(from, to))
      if (type.name !== 'VectorSelector') return
      const name = node.getChild('Identifier')
      if (name === null) throw new Error(`a selector without a name at ${from}: ${text}`)
      metrics.add(text.slice(name.from, name.to))
    },
  })
  return { metrics: [...metrics], labels: [...labels] }
}
