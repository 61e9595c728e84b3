/**
 * Who did what on this node: one JSON line per call, in files of a bounded size beside the rest of the node's data. A line is written before
 * the caller has its answer; it survives the process, not a power cut. Nothing of a request's body gets here: it may hold secrets.
 */
import { closeSync, fstatSync, openSync, readSync, renameSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AuditEntry, AuditInput } from './node-api.js'

/** The file in use and the older ones; each an equal part of the bound. */
export const auditFilesMax = 8

export interface AuditLogOptions {
  readonly directory: string
  /** Of all files together. */
  readonly bytesMax: number
  readonly nodeId: string
  readonly now: () => string
  readonly onTrouble: (detail: string) => void
}

export class AuditLog {
  private readonly options: AuditLogOptions
  private fd: number
  private bytes: number

  constructor(options: AuditLogOptions) {
    this.options = options
    this.fd = openSync(this.path(0), 'a+', 0o600)
    this.bytes = fstatSync(this.fd).size
    if (this.endsInsideLine()) this.write('\n')
  }

  record(input: AuditInput): void {
    const { nodeId, now, onTrouble, bytesMax } = this.options
    const entry: AuditEntry = { hlc: now(), at: new Date().toISOString(), node: nodeId, ...input }
    try {
      if (this.bytes >= bytesMax / auditFilesMax) this.rotate()
      this.write(`${JSON.stringify(entry)}\n`)
    } catch (error) {
      onTrouble(error instanceof Error ? error.message : String(error))
    }
  }

  /** Oldest first: the first `limit` after a cursor, or the newest. */
  async read(limit: number, after: string | undefined): Promise<readonly AuditEntry[]> {
    const found: AuditEntry[] = []
    if (after === undefined) {
      for (let age = 0; age < auditFilesMax && found.length < limit; age++) {
        found.unshift(...(await this.entries(age)).slice(-(limit - found.length)))
      }
      return found
    }
    for (let age = auditFilesMax - 1; age >= 0 && found.length < limit; age--) {
      const later = (await this.entries(age)).filter(({ hlc }) => hlc > after)
      found.push(...later.slice(0, limit - found.length))
    }
    return found
  }

  close(): void {
    closeSync(this.fd)
  }

  private path(age: number): string {
    return join(this.options.directory, age === 0 ? 'audit.jsonl' : `audit.${age}.jsonl`)
  }

  private write(text: string): void {
    this.bytes += writeSync(this.fd, text)
  }

  private endsInsideLine(): boolean {
    if (this.bytes === 0) return false
    const last = Buffer.alloc(1)
    readSync(this.fd, last, 0, 1, this.bytes - 1)
    return last[0] !== 0x0a
  }

  /** The oldest file is written over by the one before it. */
  private rotate(): void {
    for (let age = auditFilesMax - 2; age >= 0; age--) {
      try {
        renameSync(this.path(age), this.path(age + 1))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
    const fresh = openSync(this.path(0), 'a+', 0o600)
    closeSync(this.fd)
    this.fd = fresh
    this.bytes = 0
  }

  private async entries(age: number): Promise<AuditEntry[]> {
    const text = await readFile(this.path(age), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return ''
      throw error
    })
    return text.split('\n').flatMap((line) => entryOf(line) ?? [])
  }
}

/** Undefined for a line that was cut short when the machine went down. */
function entryOf(line: string): AuditEntry | undefined {
  if (line === '') return undefined
  try {
    const entry = JSON.parse(line) as AuditEntry
    return typeof entry.hlc === 'string' ? entry : undefined
  } catch {
    return undefined
  }
}
