/**
 * What an agent printed, on disk: `output.log`, which becomes `output.log.1` when it is full, and so on up to a number of files. Appends wait for one another and
 * for the disk, and whoever prints waits for them: that is the backpressure. A disk that fails costs lines of the file, never the agent: it is said
 * once, and tried again after a while.
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { monotonicMs } from '../../engines/sqlite/clock.js'

const retryMs = 5_000

export interface OutputLogOptions {
  readonly directory: string
  readonly fileBytesMax: number
  readonly filesMax: number
  readonly onFailure: (detail: string) => void
}

export class OutputLog {
  readonly #options: OutputLogOptions
  #file: FileHandle | undefined
  #size = 0
  #last: Promise<void> = Promise.resolve()
  #lostBytes = 0
  #retryAtMs = 0
  #isClosed = false

  constructor(options: OutputLogOptions) {
    this.#options = options
  }

  /** Resolves when it is written, or given up. Never rejects. */
  append(bytes: Buffer): Promise<void> {
    this.#last = this.#last.then(() => this.#write(bytes))
    return this.#last
  }

  /** Opens again with the next append. */
  close(): Promise<void> {
    this.#last = this.#last.then(() => this.#shut())
    return this.#last
  }

  /** For good: what is appended later is dropped. */
  abandon(): void {
    this.#isClosed = true
    void this.close()
  }

  async #write(bytes: Buffer): Promise<void> {
    if (this.#isClosed || bytes.length === 0) return
    if (monotonicMs() < this.#retryAtMs) {
      this.#lostBytes += bytes.length
      return
    }
    try {
      this.#file ??= await this.#open()
      if (this.#size > 0 && this.#size + bytes.length > this.#options.fileBytesMax) await this.#rotate()
      if (this.#lostBytes > 0) {
        await this.#writeAll(Buffer.from(`[skein] ${this.#lostBytes} bytes could not be written here\n`))
        this.#lostBytes = 0
      }
      await this.#writeAll(bytes)
    } catch (error) {
      const isNew = this.#lostBytes === 0
      this.#lostBytes += bytes.length
      this.#retryAtMs = monotonicMs() + retryMs
      await this.#shut()
      if (isNew) this.#options.onFailure(error instanceof Error ? error.message : String(error))
    }
  }

  /** A nearly full disk may take a part of a write without an error. */
  async #writeAll(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await this.#file!.write(bytes, at)
      if (bytesWritten === 0) throw new Error('the disk took no more bytes')
      at += bytesWritten
      this.#size += bytesWritten
    }
  }

  async #open(): Promise<FileHandle> {
    const { directory } = this.#options
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants
    const file = await open(
      join(directory, 'output.log'),
      O_WRONLY | O_APPEND | O_CREAT | (O_NOFOLLOW ?? 0),
      0o600,
    )
    this.#size = (await file.stat()).size
    return file
  }

  async #rotate(): Promise<void> {
    const { directory, filesMax } = this.#options
    const nameOf = (n: number) => join(directory, n === 0 ? 'output.log' : `output.log.${n}`)
    if (filesMax === 1) {
      await this.#file!.truncate(0)
      this.#size = 0
      return
    }
    await this.#shut()
    for (let n = filesMax - 2; n >= 0; n--) await rename(nameOf(n), nameOf(n + 1)).catch(ignoreMissing)
    this.#file = await this.#open()
  }

  async #shut(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    // What it holds is written or given up by now: a failure to close says nothing new.
    await file?.close().catch(() => undefined)
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
