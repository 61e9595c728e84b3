/** What any validator that follows Standard Schema (zod, valibot, arktype …) looks like, and how it is asked. Types after the public specification, version 1. */
import { SkeinError } from '../../core/kernel/error.js'

export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

export interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What is given to a schema, and what comes out of it. */
export type InputOf<S> = S extends StandardSchema ? NonNullable<S['~standard']['types']>['input'] : unknown
export type OutputOf<S> = S extends StandardSchema ? NonNullable<S['~standard']['types']>['output'] : unknown

const issuesShown = 10

/** The validated value, at once where the schema can. Throws or rejects with `invalid_argument`, whose details name each place. */
export function validate(schema: StandardSchema, value: unknown, what: string): unknown {
  const result = schema['~standard'].validate(value)
  return result instanceof Promise ? result.then((r) => valueIn(r, what)) : valueIn(result, what)
}

function valueIn(result: StandardResult<unknown>, what: string): unknown {
  if (result.issues === undefined) return result.value
  const issues = result.issues.slice(0, issuesShown).map(({ message, path }) => ({
    path: (path ?? []).map((p) => String(typeof p === 'object' ? p.key : p)).join('.'),
    message,
  }))
  const [first] = issues
  const where = first === undefined || first.path === '' ? '' : ` at ${first.path}`
  throw new SkeinError('invalid_argument', `${what}${where}: ${first?.message ?? 'not valid'}`, {
    details: { issues },
  })
}
