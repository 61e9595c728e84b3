/** Directories of tests: one each, removed afterwards. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'skein-store-'))
}

export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true })
}
