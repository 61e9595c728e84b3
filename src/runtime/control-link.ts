/** Main's end of the control plane: messages out, calls with answers, messages in. The control plane is a worker or an object in this thread. */
import { SkeinError } from '../core/kernel/error.js'
import type { ControlCalls, ControlToMain, MainToControl } from './control-messages.js'

const callTimeoutMs = 10_000
const callsMax = 10_000

export class ControlLink {
  private readonly post: (message: MainToControl) => void
  private readonly calls = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void; timer: NodeJS.Timeout }
  >()
  private nextId = 1

  constructor(post: (message: MainToControl) => void) {
    this.post = post
  }

  tell(message: Exclude<MainToControl, { type: 'call' }>): void {
    this.post(message)
  }

  call<M extends keyof ControlCalls>(
    method: M,
    ask: ControlCalls[M]['ask'],
  ): Promise<ControlCalls[M]['answer']> {
    return new Promise((resolve, reject) => {
      if (this.calls.size >= callsMax) {
        reject(
          new SkeinError('overloaded', `${callsMax} calls wait for the control plane`, { retryable: true }),
        )
        return
      }
      const id = this.nextId++
      const timer = setTimeout(() => {
        this.calls.delete(id)
        reject(new SkeinError('timeout', `the control plane did not answer ${method} in ${callTimeoutMs} ms`))
      }, callTimeoutMs)
      timer.unref()
      this.calls.set(id, { resolve, reject, timer })
      this.post({ type: 'call', id, method, ask })
    })
  }

  /** True when the message was an answer to a call. */
  settle(message: ControlToMain): boolean {
    if (message.type !== 'answer' && message.type !== 'failure') return false
    const call = this.calls.get(message.id)
    if (call === undefined) return true
    this.calls.delete(message.id)
    clearTimeout(call.timer)
    if (message.type === 'answer') call.resolve(message.value as never)
    else call.reject(new SkeinError(message.code, message.detail))
    return true
  }

  close(): void {
    for (const { reject, timer } of this.calls.values()) {
      clearTimeout(timer)
      reject(new SkeinError('closed', 'the node is stopping'))
    }
    this.calls.clear()
  }
}
