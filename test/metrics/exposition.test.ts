/** Numbers as Prometheus reads them: histograms added up, labels held to their bounds. */
import { describe, expect, it } from 'vitest'
import { Histogram } from '../../src/core/kernel/histogram.js'
import { Exposition } from '../../src/runtime/metrics/exposition.js'
import type { MetricSpec } from '../../src/runtime/metrics/metric.js'

const spec = (given: Partial<MetricSpec>): MetricSpec => ({
  name: 'skein_x',
  type: 'gauge',
  unit: 'count',
  area: 'Cluster',
  help: 'X',
  moves: '',
  ...given,
})

async function linesOf(
  given: Partial<MetricSpec>,
  samples: Parameters<Exposition['add']>[1],
): Promise<string[]> {
  const exposition = new Exposition()
  exposition.add(spec(given), samples)
  return (await exposition.text()).trim().split('\n')
}

describe('the exposition', () => {
  it('writes the buckets of a histogram added up', async () => {
    const h = new Histogram([0.1, 1])
    for (const seconds of [0.05, 0.1, 0.5, 7]) h.observe(seconds)
    expect(await linesOf({ type: 'histogram', bounds: [0.1, 1] }, () => [h.figures()])).toEqual([
      '# HELP skein_x X',
      '# TYPE skein_x histogram',
      'skein_x_bucket{le="0.1"} 2',
      'skein_x_bucket{le="1"} 3',
      'skein_x_bucket{le="+Inf"} 4',
      'skein_x_sum 7.65',
      'skein_x_count 4',
    ])
  })

  it('adds up as other what is beyond the values or the number of a label', async () => {
    const labels = { kind: { values: ['a'] }, who: { max: 2, of: 'callers' } }
    const samples = ['p', 'q', 'r', 's', 'p'].map((who) => ({ labels: { kind: 'a', who }, value: 1 }))
    const lines = await linesOf({ labels }, () => [...samples, { labels: { kind: 'b', who: 'p' }, value: 5 }])
    expect(lines.slice(2)).toEqual([
      'skein_x{kind="a",who="p"} 2',
      'skein_x{kind="a",who="q"} 1',
      'skein_x{kind="a",who="other"} 2',
      'skein_x{kind="other",who="p"} 5',
    ])
  })

  it('escapes what a program wrote into a label', async () => {
    const labels = { who: { max: 2, of: 'callers' } }
    const [, , line] = await linesOf({ labels }, () => [{ labels: { who: 'a"b\\c\nd' }, value: 1 }])
    expect(line).toBe('skein_x{who="a\\"b\\\\c\\nd"} 1')
  })
})
