/** The runtime's own settings as a document: its shape, and what it makes of how a node was started. */
import { z } from 'zod'
import { SkeinError } from '../../core/kernel/error.js'
import { strategies } from '../../core/kernel/strategies.js'
import type { NodeConfig } from '../node-api.js'
import type { Settings } from './api-types.js'

/** Ranges as in `config/options.ts`. */
const schema = z.strictObject({
  strategy: z.enum(strategies).optional(),
  rebalance: z.enum(['auto', 'manual']).optional(),
  log_level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).optional(),
  rate_limit: z.int().min(0).max(1_000_000).optional(),
  rate_burst: z.int().min(1).max(1_000_000).optional(),
  retention_hours: z.int().min(1).max(876_000).optional(),
  retention_stream_mib: z.int().min(1).max(16_777_216).optional(),
})
type Told = z.infer<typeof schema>

/** Throws `invalid_argument` with all that is wrong. */
export function checkSettings(value: unknown): void {
  const parsed = schema.safeParse(value)
  if (parsed.success) return
  const errors = parsed.error.issues.map(({ path, message }) => ({
    field: path.length === 0 ? 'value' : `value.${path.join('.')}`,
    allowed: message,
  }))
  throw new SkeinError('invalid_argument', errors.map((e) => `${e.field}: ${e.allowed}`).join('; '), {
    details: { errors, allowed: Object.keys(schema.shape) },
  })
}

export function settingsOf(config: NodeConfig, value: unknown, strategy: Settings['strategy']): Settings {
  const told = toldOf(value)
  return {
    strategy: told.strategy ?? strategy,
    rebalance: told.rebalance ?? config.rebalance,
    logLevel: told.log_level ?? config.logLevel,
    rateLimit: told.rate_limit ?? config.rateLimit,
    rateBurst: told.rate_burst ?? config.rateBurst,
    retentionHours: told.retention_hours ?? config.retentionHours,
    retentionStreamMib: told.retention_stream_mib ?? config.retentionStreamMib,
  }
}

/** Field by field: what another version of Skein has written and this one does not understand takes nothing else with it. */
function toldOf(value: unknown): Told {
  if (typeof value !== 'object' || value === null) return {}
  const told: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(schema.shape)) {
    const parsed = field.safeParse((value as Record<string, unknown>)[name])
    if (parsed.success && parsed.data !== undefined) told[name] = parsed.data
  }
  return told
}
