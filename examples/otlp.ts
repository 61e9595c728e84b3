/**
 * Traces of the real OpenTelemetry SDK, taken in by a cluster: each span is an event of stream `traces` with its trace as key, so one node sees a whole
 * trace, in order. `npx tsx examples/otlp.ts`; beside `npm start` an exporter needs only the URL http://127.0.0.1:8151/v1/traces.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { context, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { createNode, type SkeinNode } from 'skein'

const dir = mkdtempSync(join(tmpdir(), 'otlp-'))
const nodes: SkeinNode[] = []
for (const nodeId of ['one', 'two']) {
  const peers = nodes.map((n) => n.self.peerAddress)
  const options = { port: 0, peerPort: 0, shards: 8, preset: 'local', threads: 'inline' } as const
  nodes.push(await createNode({ nodeId, peers, dataDir: join(dir, nodeId), logLevel: 'error', ...options }))
}
const [one, two] = nodes as [SkeinNode, SkeinNode]

// Spans of a trace come to the owner of its key, in whichever batch, through whichever node.
const spansOf = new Map<string, Set<string>>()
for (const node of nodes)
  node.events.consume('traces', (batch) => {
    for (const { key, id } of batch) spansOf.set(key, (spansOf.get(key) ?? new Set()).add(id))
  })

// What a program does that is traced.
const url = `http://${one.self.httpAddress}/v1/traces`
const provider = new BasicTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url }))],
})
const tracer = provider.getTracer('shop')
const requests = 20
for (let n = 0; n < requests; n++) {
  const request = tracer.startSpan('GET /cart', { attributes: { 'user.id': `u${n}` } })
  const inside = trace.setSpan(context.active(), request)
  for (const what of ['load the cart', 'price it', 'render']) tracer.startSpan(what, {}, inside).end()
  request.end()
}
await provider.shutdown()

const untilMs = Date.now() + 30_000
const isDone = (): boolean =>
  spansOf.size === requests && [...spansOf.values()].every((spans) => spans.size === 4)
while (!isDone() && Date.now() < untilMs) await new Promise((wait) => setTimeout(wait, 20))
const [first = ''] = spansOf.keys()
console.log(`${spansOf.size} traces, ${[...spansOf.values()].reduce((n, s) => n + s.size, 0)} spans`)
const { events } = await two.events.read({ stream: 'traces', key: first })
const names = events.map(({ payload }) => (payload as { span: { name: string } }).span.name)
console.log(`one trace: ${names.join(', ')}`)

for (const node of nodes) await node.stop()
rmSync(dir, { recursive: true, force: true })
if (!isDone()) process.exit(1)
