/**
 * `GuardRenewals` for the control thread: passes the lease's deadline on, and sees to it that the guard keeps it. A guard that has not said by then that it kills is
 * frozen, or worse: it is killed from here, and what it leaves behind is found by its mark. The main thread is not needed for any of it.
 */
import { connect, type Socket } from 'node:net'
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { identityOf } from '../../engines/sqlite/process-identity.js'
import type { GuardRenewals } from '../../ports/agent-processes.js'
import { encodeFrame } from './frames.js'
import { endMarked, sendSignal } from './marked-processes.js'
import { parseTarget, type Renewal, type RenewalFrame, type RenewalTarget } from './protocol.js'

/** Past the deadline, until the guard is taken for frozen. */
const patienceMs = 100
const sweepMsMax = 5_000
/** Node's timers take no longer times. */
const timerMsMax = 2 ** 31 - 1

export interface GuardRenewalsOptions {
  /** The `renewalAddress` of `AgentProcesses.open`. */
  readonly address: string
  /** The guard is gone, and what it left behind has been killed. Once; not after `close`. */
  readonly onLost?: (detail: string) => void
}

export class GuardRenewalSender implements GuardRenewals {
  readonly #target: RenewalTarget
  readonly #onLost: (detail: string) => void
  readonly #socket: Socket
  /** The newest one that has not been handed to the socket. */
  #latest: Renewal | undefined
  #isBusy = false
  #isKilling = false
  #isClosed = false
  #watchdog: NodeJS.Timeout | undefined
  #lastWord = 'its connection closed'

  /** Connects. Errors: `invalid_argument`; what goes wrong with the connection is told by `onLost`. */
  constructor({ address, onLost = () => undefined }: GuardRenewalsOptions) {
    this.#target = parseTarget(address)
    this.#onLost = onLost
    this.#socket = connect(this.#target.socketPath)
    this.#write({ type: 'hello', token: this.#target.token })
    // The guard says one thing only: that it kills.
    this.#socket.on('data', () => {
      this.#isKilling = true
      clearTimeout(this.#watchdog)
    })
    this.#socket.on('error', (error) => {
      this.#lastWord = error.message
    })
    this.#socket.once('close', () => void this.#gone())
  }

  renew(deadlineMs: number): void {
    if (!Number.isFinite(deadlineMs) || deadlineMs < 0)
      throw new SkeinError(
        'invalid_argument',
        `deadlineMs ${deadlineMs}: monotonic ms, 0 or more, expected`,
        {
          details: { field: 'deadlineMs' },
        },
      )
    if (this.#isClosed || this.#isKilling) return
    const nowMs = monotonicMs()
    this.#latest = { deadlineMs, nowMs, wallMs: Date.now() }
    this.#flush()
    clearTimeout(this.#watchdog)
    const waitMs = Math.max(0, deadlineMs - nowMs) + patienceMs
    if (waitMs <= timerMsMax) this.#watchdog = setTimeout(() => this.#endGuard(), waitMs)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#watchdog)
    const last = this.#latest
    if (last !== undefined)
      this.#socket.write(encodeFrame({ type: 'renew', renewal: last } satisfies RenewalFrame))
    this.#socket.end(encodeFrame({ type: 'bye' } satisfies RenewalFrame))
  }

  /** A guard that does not read gets one renewal when it reads again: the newest. */
  #flush(): void {
    if (this.#isBusy || this.#latest === undefined) return
    const renewal = this.#latest
    this.#latest = undefined
    this.#write({ type: 'renew', renewal })
  }

  #write(frame: RenewalFrame): void {
    this.#isBusy = true
    this.#socket.write(encodeFrame(frame), () => {
      this.#isBusy = false
      if (!this.#isClosed) this.#flush()
    })
  }

  #endGuard(): void {
    this.#lastWord = `it did not end its agents at the lease's deadline and was killed`
    const { pid, startTicks } = this.#target
    if (startTicks !== 0 && identityOf(pid)?.startTicks === startTicks) sendSignal(pid, 'SIGKILL')
  }

  async #gone(): Promise<void> {
    clearTimeout(this.#watchdog)
    if (this.#isClosed) return
    this.#isClosed = true
    await endMarked(`${this.#target.mark}/`, this.#target.startTicks, 'without_guards', sweepMsMax)
    this.#onLost(this.#lastWord)
  }
}
