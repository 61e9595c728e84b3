/** Peer addresses as people write them: `host:port`, `id:host:port`, `name@host:port`; IPv6 hosts in brackets. */

/** The address alone, which is all that dialling needs; an `Error` says what is wrong with it. */
export function parsePeer(text: string): string | Error {
  const given = JSON.stringify(text)
  const forms = 'host:port, id:host:port or name@host:port expected'
  const match = /^(?:([^@:[\]]*)[@:])?(\[[^\]]*\]|[^@:[\]]*):([^:]*)$/.exec(text.trim())
  if (match === null) return new Error(`${forms}, got ${given}`)
  const [, id, host, port] = match as unknown as [string, string | undefined, string, string]
  if (id !== undefined && !/^[A-Za-z0-9._-]{1,64}$/.test(id)) {
    return new Error(
      `the name before the host may have 1 to 64 of A-Z a-z 0-9 . _ -, got ${given} (${forms})`,
    )
  }
  if (!isHost(host)) return new Error(`a host is missing or malformed in ${given} (${forms})`)
  const number = /^\d{1,5}$/.test(port) ? Number(port) : 0
  if (number < 1 || number > 65_535) {
    return new Error(`the port must be a whole number from 1 to 65535, got ${given} (${forms})`)
  }
  return `${host}:${number}`
}

function isHost(host: string): boolean {
  return /^\[[0-9A-Fa-f:.]{2,}\]$/.test(host) || /^[A-Za-z0-9._-]{1,253}$/.test(host)
}
