/** Discovery by file: one `host:port` a line, `#` begins a comment. Read anew each time; a file that is gone or malformed is an error. */
import { readFile, stat } from 'node:fs/promises'
import { parseAddress } from '../../core/kernel/address.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { DiscoverySource } from '../../ports/discovery.js'

const bytesMax = 256 * 1024
const addressesMax = 1_000

/** Throws `bad_config`. */
export function fileSource(text: string): DiscoverySource {
  const path = text.slice('file:'.length)
  if (!text.startsWith('file:') || path === '')
    throw new SkeinError('bad_config', `--discover "${text}": file:PATH expected`, {
      details: { field: 'discover' },
    })
  return {
    name: text,
    find: async () => {
      const { size } = await stat(path).catch((cause) => refuse(text, (cause as Error).message, cause))
      if (size > bytesMax) refuse(text, `${size} bytes; at most ${bytesMax} are read`)
      const lines = (await readFile(path, 'utf8')).split('\n')
      const addresses = lines.flatMap((line, i) => {
        const address = line.replace(/#.*$/, '').trim()
        if (address === '') return []
        if (parseAddress(address) === undefined)
          refuse(text, `line ${i + 1}: "${address.slice(0, 64)}" is not host:port`)
        return [address]
      })
      if (addresses.length > addressesMax)
        refuse(text, `${addresses.length} addresses; at most ${addressesMax} are used`)
      return [...new Set(addresses)]
    },
  }
}

function refuse(text: string, detail: string, cause?: unknown): never {
  throw new SkeinError('unavailable', `${text}: ${detail}`, { cause, retryable: true })
}
