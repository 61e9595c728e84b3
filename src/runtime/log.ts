/** The node's log: JSON lines with a constant message and ids in fields, or one readable line each. To standard error, so that standard output stays the program's. */
import pino from 'pino'
import type { NodeConfig } from './node-api.js'

export type Log = (
  level: 'debug' | 'info' | 'warn' | 'error',
  event: string,
  fields: Readonly<Record<string, unknown>>,
) => void

const ranks = { debug: 20, info: 30, warn: 40, error: 50, silent: 100 } as const

export function makeLog(config: Pick<NodeConfig, 'logLevel' | 'logFormat'>, nodeId: string): Log {
  if (config.logFormat === 'pretty') {
    return (level, event, fields) => {
      if (ranks[level] < ranks[config.logLevel]) return
      const rest = Object.entries(fields).map(
        ([k, v]) => `${k}=${typeof v === 'string' ? v : JSON.stringify(v)}`,
      )
      process.stderr.write(
        `${new Date().toISOString().slice(11, 23)} ${level.padEnd(5)} ${event} ${rest.join(' ')}\n`,
      )
    }
  }
  const logger = pino(
    { level: config.logLevel, base: { node: nodeId }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  return (level, event, fields) => logger[level]({ ...fields }, event)
}
