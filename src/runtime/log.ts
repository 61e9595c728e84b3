/** The node's log: JSON lines with a constant message and ids in fields, or one readable line each. To standard error, so that standard output stays the program's. */
import pino from 'pino'
import type { NodeConfig } from './node-api.js'

export type Log = (
  level: 'debug' | 'info' | 'warn' | 'error',
  event: string,
  fields: Readonly<Record<string, unknown>>,
) => void

const ranks = { debug: 20, info: 30, warn: 40, error: 50, silent: 100 } as const

/** A log whose level can be changed while it runs. */
export interface NodeLog {
  readonly log: Log
  /** Lines by level since the start, also those that are not shown. */
  readonly counts: Readonly<Record<'debug' | 'info' | 'warn' | 'error', number>>
  setLevel(level: NodeConfig['logLevel']): void
}

export function makeLog(config: Pick<NodeConfig, 'logLevel' | 'logFormat'>, nodeId: string): NodeLog {
  const shown = makeShownLog(config, nodeId)
  const counts = { debug: 0, info: 0, warn: 0, error: 0 }
  const log: Log = (level, event, fields) => {
    counts[level]++
    shown.log(level, event, fields)
  }
  return { log, counts, setLevel: shown.setLevel }
}

function makeShownLog(
  config: Pick<NodeConfig, 'logLevel' | 'logFormat'>,
  nodeId: string,
): Pick<NodeLog, 'log' | 'setLevel'> {
  let logLevel = config.logLevel
  if (config.logFormat === 'pretty') {
    const log: Log = (level, event, fields) => {
      if (ranks[level] < ranks[logLevel]) return
      const rest = Object.entries(fields).map(
        ([k, v]) => `${k}=${typeof v === 'string' ? v : JSON.stringify(v)}`,
      )
      process.stderr.write(
        `${new Date().toISOString().slice(11, 23)} ${level.padEnd(5)} ${event} ${rest.join(' ')}\n`,
      )
    }
    return {
      log,
      setLevel: (level) => {
        logLevel = level
      },
    }
  }
  const logger = pino(
    { level: logLevel, base: { node: nodeId }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  )
  return {
    log: (level, event, fields) => logger[level]({ ...fields }, event),
    setLevel: (level) => {
      logger.level = level
    },
  }
}
