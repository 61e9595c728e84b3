/** Where the output of an agent lies. Names come from users: one may never lead out of the directory, nor two into the same. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Letters, digits, `-`, `_`, and dots but at the start, stay; other characters become `%XX`. Long names are cut and told apart by a digest. */
export function agentDirectory(agentsDir: string, name: string): string {
  const safe = [...Buffer.from(name, 'utf8')]
    .map((byte, i) => {
      const character = String.fromCharCode(byte)
      const isPlain = /[A-Za-z0-9_-]/.test(character) || (character === '.' && i > 0)
      return isPlain ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
    })
    .join('')
  if (safe.length <= 180) return join(agentsDir, safe)
  return join(
    agentsDir,
    `${safe.slice(0, 140)}%-${createHash('sha256').update(name).digest('hex').slice(0, 32)}`,
  )
}
