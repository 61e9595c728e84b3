/** Where a node may find others to join through: a list in a file, a name in DNS. Looked at again and again. */

export interface DiscoverySource {
  /** As the user wrote it, for messages. */
  readonly name: string
  /**
   * The addresses now, `host:port` each, at most a thousand. Rejects with what went wrong, naming the source; what was found before stays
   * in use then. A name that is gone is an empty list: that is no verdict about the members behind it.
   */
  find(signal: AbortSignal): Promise<readonly string[]>
}
