/**
 * The life lock: an exclusive lock that a process holds from its main thread until it dies, and that the
 * kernel frees at that moment and never earlier (not while it is stopped). Whoever obtains the lock of a boot
 * has proof that the boot's process is dead.
 */
export interface LifeLock extends AsyncDisposable {
  /** Where others of this host find it; goes into the node's registration. */
  readonly locator: string
  /** Only for a clean end: frees the lock and removes its file. */
  release(): void
}

export interface LifeLocks {
  /**
   * Makes and takes the lock of a boot of this process. `path`: an absolute path, another one for each boot; the lock's `locator` is what
   * others prove by. Main thread only. Throws `already_running` when another process holds it, `data_dir_unusable`, `invalid_argument`.
   */
  hold(path: string): LifeLock
  /**
   * `dead`: the lock was obtained, so that process is gone for ever. `alive`: somebody holds it. `unknown`: not a lock of this host, or
   * its file is not readable. Never blocks.
   */
  prove(locator: string): 'dead' | 'alive' | 'unknown'
}
