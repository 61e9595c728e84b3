/**
 * Errors that travel as replies: code, message, retryable, details as JSON. What cannot be written is left out, what
 * cannot be read is an error of its own; neither throws.
 */
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'

const messageCharsMax = 4_000
const detailsCharsMax = 64 * 1024

export function encodeReplyError(error: Error): Uint8Array {
  const message = error.message.slice(0, messageCharsMax)
  if (!isSkeinError(error)) return json({ code: 'internal', message, retryable: false })
  const { code, retryable, details } = error
  try {
    const written = JSON.stringify(details)
    if (written.length <= detailsCharsMax) return json({ code, message, retryable, details })
  } catch {
    // Details that JSON cannot hold: the error matters more than they do.
  }
  return json({ code, message, retryable })
}

export function decodeReplyError(body: Uint8Array): SkeinError {
  try {
    const facts: unknown = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString())
    if (isRecord(facts) && typeof facts.code === 'string' && typeof facts.message === 'string') {
      return new SkeinError(facts.code as ErrorCode, facts.message, {
        retryable: facts.retryable === true,
        details: isRecord(facts.details) ? facts.details : {},
      })
    }
  } catch {
    // Falls through: not JSON is as good as JSON of another shape.
  }
  return new SkeinError('protocol_violation', 'the peer answered with an error that cannot be read')
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
