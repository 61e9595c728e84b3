/** Looks for secrets where none may be: as they are, in the usual encodings, and in parts. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Secret } from './guarded-cluster.js'

/** So much of a secret is a find. */
const partChars = 16

export class SecretSearch {
  readonly finds = new Set<string>()
  lookedAtBytes = 0
  readonly secrets: number
  private readonly parts: { readonly what: string; readonly bytes: Buffer }[] = []

  constructor(secrets: readonly Secret[]) {
    this.secrets = secrets.length
    for (const { what, value } of secrets) {
      const raw = Buffer.from(value)
      const forms = [
        value,
        raw.toString('hex'),
        raw.toString('base64').replace(/=+$/, ''),
        raw.toString('base64url'),
      ]
      // A key in PEM: each of its lines is as good as a part of it.
      const parts = value.includes('-----')
        ? value.split('\n').filter((line) => !line.includes('-----'))
        : forms
      for (const form of parts)
        for (let at = 0; at + partChars <= form.length; at += partChars)
          this.parts.push({ what, bytes: Buffer.from(form.slice(at, at + partChars)) })
    }
  }

  get needles(): number {
    return this.parts.length
  }

  look(where: string, bytes: Buffer): void {
    this.lookedAtBytes += bytes.length
    for (const { what, bytes: needle } of this.parts) {
      const at = bytes.indexOf(needle)
      if (at >= 0) this.finds.add(`${what} in ${where} at ${at}`)
    }
  }

  /** Every file below whose name fits. Returns how many. */
  lookInFiles(directory: string, name = /./): number {
    let count = 0
    for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !name.test(entry.name)) continue
      const path = join(entry.parentPath, entry.name)
      this.look(path.slice(directory.length + 1), readFileSync(path))
      count++
    }
    return count
  }
}
