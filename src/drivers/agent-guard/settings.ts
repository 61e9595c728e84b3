/** What a guard is told once, at its start, and the limits of everything that could grow. */
import { SkeinError } from '../../core/kernel/error.js'

export interface GuardLimits {
  /** Agents that may run at once. Each holds three pipes, and its ring. Default 1,024, range 1 to 10,000. */
  readonly agentsMax: number
  /** Lines that are kept of each agent in memory. Default 1,000, range 1 to 10,000. */
  readonly ringLinesMax: number
  /** The same in bytes. Default 256 KiB, range 16 KiB to 4 MiB. Memory: at most this for each agent that runs, and for the last 64 that ended. */
  readonly ringBytesMax: number
  /** Size of `output.log` at which it becomes `output.log.1`. Default 4 MiB, range 256 KiB to 1 GiB. */
  readonly fileBytesMax: number
  /** Files kept of each agent, the one being written included. Default 3, range 1 to 100. */
  readonly filesMax: number
}

export const guardLimits: GuardLimits = {
  agentsMax: 1_024,
  ringLinesMax: 1_000,
  ringBytesMax: 256 * 1_024,
  fileBytesMax: 4 * 1_024 * 1_024,
  filesMax: 3,
}

const ranges: Readonly<Record<keyof GuardLimits, readonly [number, number]>> = {
  agentsMax: [1, 10_000],
  ringLinesMax: [1, 10_000],
  ringBytesMax: [16 * 1_024, 4 * 1_024 * 1_024],
  fileBytesMax: [256 * 1_024, 1_024 * 1_024 * 1_024],
  filesMax: [1, 100],
}

/** Fills in the defaults. Throws `bad_config`, naming every value that is out of its range. */
export function checkLimits(given: Partial<GuardLimits>): GuardLimits {
  const limits = { ...guardLimits, ...given }
  const wrong = (Object.keys(ranges) as (keyof GuardLimits)[]).flatMap((name) => {
    const [min, max] = ranges[name]
    const value = limits[name]
    const isFine = Number.isInteger(value) && value >= min && value <= max
    return isFine ? [] : [`${name} ${value}: a whole number from ${min} to ${max} expected`]
  })
  if (wrong.length > 0)
    throw new SkeinError('bad_config', `limits of process agents: ${wrong.join('; ')}`, {
      details: { field: 'limits' },
    })
  return limits
}

/** The first frame that a guard reads. */
export interface GuardSetup {
  readonly nodeId: string
  /** Absolute. Output goes to `<agentsDir>/<name>/output.log`. */
  readonly agentsDir: string
  readonly lifeLockPath: string
  /** Where it listens for the one connection of the control thread. */
  readonly socketPath: string
  /** What that connection must say first. */
  readonly token: string
  /** Marks the environment of everything it starts. */
  readonly mark: string
  readonly limits: GuardLimits
}

/** Longest line of output, bytes; a longer one comes in pieces. */
export const lineBytesMax = 16 * 1_024
/** An unfinished line, a prompt say, is passed on after this time, ms. */
export const partialLineMs = 250
/** Text that a hook is given, characters, and returns, bytes. */
export const hookTextMax = 4 * 1_024 * 1_024
/** Bytes of one frame: the largest hook, each of its characters escaped, and its command or its last words. */
export const frameBytesMax = 6 * hookTextMax + 1_024 * 1_024
/** Between SIGTERM and SIGKILL, and for a hook, ms. */
export const waitMsMax = 600_000
