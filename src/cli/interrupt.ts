/** Ctrl-C, for commands that go on until somebody has seen enough. */

/** Aborted by the first SIGINT or SIGTERM; a second one ends the process as usual. `release` gives the signals back. */
export function untilInterrupted(): { readonly signal: AbortSignal; release(): void } {
  const stop = new AbortController()
  const signals = ['SIGINT', 'SIGTERM'] as const
  const release = (): void => {
    for (const signal of signals) process.off(signal, onSignal)
  }
  const onSignal = (): void => {
    release()
    stop.abort()
  }
  for (const signal of signals) process.on(signal, onSignal)
  return { signal: stop.signal, release }
}

/** True when it was cut short. */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(true)
  return new Promise((done) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      done(signal.aborted)
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}

/** Ends as an interrupted program does, so that a script that waits for this one ends with it. */
export function dieOfInterrupt(): never {
  process.removeAllListeners('SIGINT')
  process.kill(process.pid, 'SIGINT')
  // The signal is taken before the next line on Linux; elsewhere this is its code.
  process.exit(130)
}
