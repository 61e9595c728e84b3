/**
 * W3C trace context, and OpenTelemetry where the program has it installed: calls carry the context of the active span, and a handler runs in a span
 * that is its child; what publishes, consumes and asks agents has a span too. Without it a trace travels all the same, from whoever gives one to whoever asks for it.
 */
import type { Context, Span, TextMapGetter, TextMapSetter } from '@opentelemetry/api'

type Api = typeof import('@opentelemetry/api')

const setter: TextMapSetter<Record<string, string>> = {
  set: (carrier, key, value) => {
    carrier[key] = value
  },
}
const getter: TextMapGetter<Record<string, string>> = {
  get: (carrier, key) => carrier[key],
  keys: (carrier) => Object.keys(carrier),
}

export class Tracing {
  private readonly api: Api | undefined

  private constructor(api: Api | undefined) {
    this.api = api
  }

  /** With OpenTelemetry if it is installed; whatever else keeps its module from loading is a fault of the installation and is thrown. */
  static async load(): Promise<Tracing> {
    try {
      return new Tracing(await import('@opentelemetry/api'))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
      return new Tracing(undefined)
    }
  }

  /** `traceparent`, and after a line break `tracestate`, of the active span; empty without one. */
  active(): string {
    const { api } = this
    if (api === undefined || api.trace.getActiveSpan() === undefined) return ''
    const carrier: Record<string, string> = {}
    api.propagation.inject(api.context.active(), carrier, setter)
    const { traceparent, tracestate } = carrier
    if (traceparent === undefined) return ''
    return tracestate === undefined ? traceparent : `${traceparent}\n${tracestate}`
  }

  /** Runs it in a span that is a child of the active one, where there is a tracer; the attributes are OpenTelemetry's for messaging or calls. */
  within<T>(
    title: string,
    kind: 'producer' | 'consumer' | 'client',
    attributes: Readonly<Record<string, string | number>>,
    work: () => T,
  ): T {
    const { api } = this
    if (api === undefined) return work()
    const kinds = {
      producer: api.SpanKind.PRODUCER,
      consumer: api.SpanKind.CONSUMER,
      client: api.SpanKind.CLIENT,
    }
    const parent = api.context.active()
    const span = api.trace.getTracer('skein').startSpan(title, { kind: kinds[kind], attributes }, parent)
    return inSpan(api, span, () => api.context.with(api.trace.setSpan(parent, span), work)) as T
  }

  /** Runs it, in a span of its own where there is a tracer. */
  serve(title: string, trace: string, work: () => unknown): unknown {
    const { api } = this
    if (api === undefined) return work()
    const [traceparent = '', tracestate] = trace.split('\n')
    const carrier: Record<string, string> = traceparent === '' ? {} : { traceparent }
    if (tracestate !== undefined) carrier.tracestate = tracestate
    const parent: Context = api.propagation.extract(api.ROOT_CONTEXT, carrier, getter)
    const span = api.trace.getTracer('skein').startSpan(title, { kind: api.SpanKind.SERVER }, parent)
    return inSpan(api, span, () => api.context.with(api.trace.setSpan(parent, span), work))
  }
}

function inSpan(api: Api, span: Span, work: () => unknown): unknown {
  const fail = (error: unknown): never => {
    span.recordException(error instanceof Error ? error : String(error))
    span.setStatus({ code: api.SpanStatusCode.ERROR })
    span.end()
    throw error
  }
  try {
    const result = work()
    if (result instanceof Promise)
      return result.then((value: unknown) => {
        span.end()
        return value
      }, fail)
    span.end()
    return result
  } catch (error) {
    return fail(error)
  }
}
