/**
 * Processes that a node runs as agents. They belong to a guard, a process of its own beside the node, that ends all of them when the node dies,
 * is frozen past its lease's deadline, or loses its lease: an agent never runs on beside its replacement.
 *
 * One guard serves one tenure of a lease. When it ends, whatever the reason, all of its agents are gone; a new lease needs a new `open`.
 */

export interface ProcessSpec {
  /** Of the agent, 1 to 256 characters. */
  readonly name: string
  /** A path, or a program of the PATH (`env.PATH`, or the node's own). Never goes through a shell. */
  readonly command: string
  readonly args: readonly string[]
  /**
   * The agent's environment beside PATH, HOME, LANG and TZ of the node, which these may replace, and SKEIN_AGENT, SKEIN_AGENT_EPOCH, SKEIN_NODE_ID and
   * SKEIN_AGENT_GUARD, which they may not. Nothing else is inherited.
   */
  readonly env: Readonly<Record<string, string>>
  /** Default: the node's. */
  readonly cwd?: string
  /** What `stop` grants between SIGTERM and SIGKILL unless it is told otherwise, 0 to 600,000. */
  readonly stopGraceMs: number
}

/** The newest thing that happened to a run comes last; `exited` and `start_failed` end it. */
export type ProcessEvent =
  | {
      readonly type: 'started'
      readonly name: string
      readonly epoch: number
      /** Also the id of its process group and session. */
      readonly pid: number
      /** Wall clock, ms. */
      readonly atMs: number
    }
  | ({ readonly type: 'output'; readonly name: string } & OutputLine)
  | {
      readonly type: 'exited'
      readonly name: string
      readonly epoch: number
      readonly code: number | null
      readonly signal: string | null
      /**
       * `ended`: by itself, or by a signal that somebody sent. `stopped`: it was asked to and ended within its grace. `killed`: it was asked to stop and did not in time.
       */
      readonly reason: 'ended' | 'stopped' | 'killed'
      readonly atMs: number
    }
  | { readonly type: 'start_failed'; readonly name: string; readonly epoch: number; readonly detail: string }

/** One line of output, without its newline. */
export interface OutputLine {
  readonly epoch: number
  readonly stream: 'stdout' | 'stderr'
  /** UTF-8; what is not UTF-8 becomes U+FFFD. */
  readonly text: string
  /** Rises by 1 with each line of this name, from 1, as long as the guard lives. A gap among events says that lines were passed over: they are in the ring or the file. */
  readonly seq: number
  /** Wall clock of its arrival, ms. */
  readonly atMs: number
  /** The next one of the same stream goes on with this line: it was too long, or waited for its end for too long. */
  readonly isPartial: boolean
}

export interface ProcessState {
  readonly name: string
  readonly epoch: number
  readonly pid: number
  readonly isRunning: boolean
  readonly isPaused: boolean
  /** Wall clock, ms. */
  readonly startedAtMs: number
  /** Of the group, while it runs and where the system tells (/proc). CPU time in ms since each member's start; memory resident, in bytes. */
  readonly processes?: number
  readonly cpuMs?: number
  readonly memoryBytes?: number
  /** The `seq` of the newest line, 0 before the first. */
  readonly outputSeq: number
}

export interface Hook {
  /** Told to the command as SKEIN_AGENT and SKEIN_AGENT_EPOCH. */
  readonly name: string
  readonly epoch: number
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Written to its stdin, which is then closed. At most 4 Mi characters. */
  readonly input: string
  /** 1 to 600,000. */
  readonly timeoutMs: number
  /** Of stdout, 0 to 4 Mi. */
  readonly outputBytesMax: number
}

export interface HookResult {
  /** The exit code; 128 + the signal's number for a hook that was ended by one, as in a shell. */
  readonly code: number
  readonly stdout: string
  /** The last 64 KiB. */
  readonly stderr: string
}

/**
 * The node's main thread side. Every call is answered within its own deadline or fails with `timeout`. After `onLost` until the next `open`,
 * and before the first, calls fail with `unavailable`, but `stop` resolves: nothing runs.
 */
export interface AgentProcesses extends AsyncDisposable {
  /**
   * Starts the guard unless it runs, and ends processes that an earlier guard of this data directory left behind. `lifeLock`: its locator for
   * `LifeLocks.prove`; `dead` proves that the guard and all its agents are gone (unless somebody killed the guard itself: then they are being killed). `renewalAddress`: for `GuardRenewals` on the control thread, a secret.
   * No agent starts before the first renewal. Errors: `unavailable`, `data_dir_unusable`, `incompatible`, `closed`.
   */
  open(): Promise<{ readonly lifeLock: string; readonly renewalAddress: string }>
  /**
   * Resolves when `started` or `start_failed` has been emitted; rejects when neither will be. Errors: `conflict` (that name runs, or ran under a higher epoch),
   * `invalid_argument`, `overloaded` (too many agents), `unavailable` (no guard, or no lease time left).
   */
  start(spec: ProcessSpec, epoch: number): Promise<void>
  /**
   * SIGTERM to the group, SIGKILL to what is left of it after `graceMs` (0 to 600,000, default the spec's). Resolves when the whole group is gone, at once if nothing of that
   * epoch runs. A second call may shorten the grace. Errors: `conflict` (a lower epoch runs), `invalid_argument`.
   */
  stop(name: string, epoch: number, graceMs?: number): Promise<void>
  /** SIGSTOP to the group. Errors: `not_found`. */
  pause(name: string): Promise<void>
  /** SIGCONT to the group. Errors: `not_found`. */
  resume(name: string): Promise<void>
  /** To the agent's first process, not to the group. Errors: `not_found`, `invalid_argument` (SIGSTOP and SIGCONT are `pause` and `resume`). */
  signal(name: string, signal: string): Promise<void>
  /** Writes to stdin as it is: add the newline. Errors: `not_found`, `overloaded` (it does not read: 1 MiB waits), `closed` (it closed its stdin), `invalid_argument`. */
  input(name: string, text: string): Promise<void>
  /**
   * Lines with a `seq` above `afterSeq` (default 0), oldest first, at most `limit` (1 to 10,000) of them; of an agent that ended too, for a while.
   * Without `afterSeq` the last `limit` ones. Errors: `not_found`, `invalid_argument`.
   */
  output(
    name: string,
    query: { readonly afterSeq?: number; readonly limit: number },
  ): Promise<readonly OutputLine[]>
  /** Also of an agent that ended, for a while. */
  state(name: string): Promise<ProcessState | undefined>
  /**
   * Runs a short command to its end, in a group of its own, beside the agents and under the same guard. Errors: `timeout` and `payload_too_large` (it was killed),
   * `invalid_argument` (also: no such command), `overloaded`, `unavailable`.
   */
  run(hook: Hook): Promise<HookResult>
  /** One handler; replaces the one before. */
  onEvent(handler: (event: ProcessEvent) => void): void
  /** The guard ended without being asked to. All that ran under it has been killed, or `detail` says what may be left. */
  onLost(handler: (detail: string) => void): void
  /** Kills what runs, ends the guard. */
  [Symbol.asyncDispose](): Promise<void>
}

/** For the control thread, which no user code blocks. When its thread ends without `close`, the guard takes the node for dead. */
export interface GuardRenewals {
  /**
   * The lease holds until then: monotonic ms of this host (`process.hrtime`). Replaces the deadline before, a lower one too: 0 ends everything at once. Past a deadline the guard
   * kills all and ends, and no later renewal brings anything back. If it does not within 100 ms, it is killed from here, and its agents with it. Errors: `invalid_argument`.
   */
  renew(deadlineMs: number): void
  /** No more renewals: the last deadline stands. Before the guard is asked to end, or its end is told as a loss. */
  close(): void
}
