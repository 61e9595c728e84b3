/** Waits for what another part of the node is about to know. */
import { SkeinError } from '../core/kernel/error.js'
import { monotonicMs } from './host-clock.js'
import { pause } from './pause.js'

const deadlineMs = 3_000
const lookEveryMs = 10

/** Errors: `timeout`. */
export async function until(isTrue: () => boolean, what: string): Promise<void> {
  const endMs = monotonicMs() + deadlineMs
  while (!isTrue()) {
    if (monotonicMs() > endMs) throw new SkeinError('timeout', `waited ${deadlineMs / 1_000} s for ${what}`)
    await pause(lookEveryMs)
  }
}
