/** Calls between two nodes as OpenTelemetry sees them, with its real SDK. */
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defineAgent } from '../../src/index.js'
import { eventually, startThree, type ThreeNodes } from './three-nodes.js'

describe('with OpenTelemetry installed', () => {
  const spans = new InMemorySpanExporter()
  let three: ThreeNodes
  beforeAll(async () => {
    trace.setGlobalTracerProvider(
      new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }),
    )
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
    propagation.setGlobalPropagator(new W3CTraceContextPropagator())
    three = await startThree()
  }, 30_000)
  afterAll(async () => {
    await three.stop()
    trace.disable()
    context.disable()
    propagation.disable()
  })

  it('a handler runs in a span that is a child of the caller’s, over two nodes', async () => {
    const [n1, n2, n3] = three.nodes
    n3.services.provide('inner', {
      work: async () => {
        await new Promise((resolve) => setTimeout(resolve, 5))
        return trace.getActiveSpan()?.spanContext().traceId
      },
    })
    await n2.services.wait('inner')
    // Nothing is handed on: the active span is found.
    n2.services.provide('outer', {
      ask: () => n2.services.call('inner', 'work'),
      fail: () => {
        throw new Error('no')
      },
    })
    await n1.services.wait('outer')
    const tracer = trace.getTracer('test')
    const root = tracer.startSpan('root')
    const within = context.with.bind(context, trace.setSpan(context.active(), root))
    expect(await within(() => n1.services.call('outer', 'ask'))).toBe(root.spanContext().traceId)
    await expect(within(() => n1.services.call('outer', 'fail'))).rejects.toMatchObject({ message: 'no' })
    root.end()
    await eventually(() => spans.getFinishedSpans().length === 4, 'four spans')
    const of = (name: string) => {
      const found = spans.getFinishedSpans().find((s) => s.name === name)
      if (found === undefined) throw new Error(`no span ${name}`)
      return found
    }
    expect(of('outer.ask')).toMatchObject({
      kind: SpanKind.SERVER,
      parentSpanContext: { spanId: root.spanContext().spanId },
    })
    expect(of('inner.work').parentSpanContext?.spanId).toBe(of('outer.ask').spanContext().spanId)
    expect(of('outer.fail').status.code).toBe(SpanStatusCode.ERROR)
  })

  it('publishing, consuming and calls to agents have spans of their own', async () => {
    const [n1, n2, n3] = three.nodes
    spans.reset()
    const Greeter = defineAgent('greeter', { state: {}, on: { greet: (_, who: string) => `hello ${who}` } })
    for (const node of three.nodes) node.agents.define(Greeter)
    await n1.agents.place(Greeter, 'g')
    const seen: (string | undefined)[] = []
    const consumers = three.nodes.map((n) =>
      n.events.consume('traced', () => void seen.push(trace.getActiveSpan()?.spanContext().spanId)),
    )
    const root = trace.getTracer('test').startSpan('root')
    await context.with(trace.setSpan(context.active(), root), async () => {
      await n2.events.publish('traced', { key: 'k', payload: 1 })
      await n3.agents.get(Greeter, 'g').greet('you')
    })
    root.end()
    const found = (name: string) => spans.getFinishedSpans().find((s) => s.name === name)
    await eventually(() => found('process') !== undefined, 'the event to be consumed')
    await Promise.all(consumers.map((c) => c.stop()))
    const rootId = root.spanContext().spanId
    expect(found('publish')).toMatchObject({
      kind: SpanKind.PRODUCER,
      parentSpanContext: { spanId: rootId },
      attributes: { 'messaging.destination.name': 'traced', 'messaging.batch.message_count': 1 },
    })
    expect(found('process')?.kind).toBe(SpanKind.CONSUMER)
    expect(seen).toEqual([found('process')?.spanContext().spanId])
    expect(found('agent.greet')).toMatchObject({
      kind: SpanKind.CLIENT,
      parentSpanContext: { spanId: rootId },
      attributes: { 'skein.agent': 'g' },
    })
  })
})
