/** What a program says about a processor: a named function that any node which has it can be asked to run. */
import { SkeinError } from '../../core/kernel/error.js'
import type { AnyProcessor, ProcessorDefinition, ProcessorFn, ProcessorOptions } from './api-types.js'

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** Throws `invalid_argument` for a name or an option that cannot be used. */
export function defineProcessor<Args, Result>(
  name: string,
  run: ProcessorFn<Args, Result>,
  options: ProcessorOptions = {},
): ProcessorDefinition<Args, Result> {
  const { runningMax } = options
  if (!namePattern.test(name))
    throw new SkeinError(
      'invalid_argument',
      `processor "${name}": 1 to 128 characters of A-Z a-z 0-9 . _ -, the first a letter or digit`,
      { details: { field: 'name' } },
    )
  if (typeof run !== 'function')
    throw new SkeinError('invalid_argument', `processor "${name}": a function expected`)
  if (runningMax !== undefined && !(Number.isSafeInteger(runningMax) && runningMax >= 1))
    throw new SkeinError('invalid_argument', `processor "${name}": runningMax must be 1 or more`)
  return { ...options, processor: name, run }
}

function isProcessor(value: unknown): value is AnyProcessor {
  const v = value as Partial<AnyProcessor> | null
  return typeof v === 'object' && v !== null && typeof v.processor === 'string' && typeof v.run === 'function'
}

/** All that a module exports, by name, by default, or in a list. */
export function processorsOf(module: unknown): AnyProcessor[] {
  const found = new Set<AnyProcessor>()
  for (const value of Object.values(module as Record<string, unknown>))
    for (const one of Array.isArray(value) ? value : [value]) if (isProcessor(one)) found.add(one)
  return [...found]
}
