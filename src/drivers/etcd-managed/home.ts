/**
 * What a node remembers about its etcd between starts, in `<data-dir>/etcd`, readable by its owner alone:
 *
 * - `seat.json`: the name of this node's member, which lasts as long as its data. A name is never used for other data.
 * - `promise.json`: whom this node has promised to let found the cluster. Written before the promise is given.
 * - `endpoints.json`: where the cluster was last seen.
 * - `data/`: etcd's. `snapshots/`: copies of it.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'

export interface Seat {
  /** The member's name, new with every data directory. */
  readonly name: string
}

export interface FoundingPromise {
  readonly founder: string
  readonly group: readonly string[]
}

export class Home {
  readonly path: string

  /** Throws `data_dir_unusable`. */
  constructor(path: string) {
    this.path = path
    try {
      mkdirSync(this.snapshots, { recursive: true, mode: 0o700 })
    } catch (cause) {
      throw new SkeinError('data_dir_unusable', `${path} cannot be made`, { details: { path }, cause })
    }
  }

  get data(): string {
    return join(this.path, 'data')
  }

  get snapshots(): string {
    return join(this.path, 'snapshots')
  }

  /** Has etcd begun to keep data here? Then it goes on with it, whatever anybody says. */
  get hasData(): boolean {
    return existsSync(join(this.data, 'member'))
  }

  get seat(): Seat | undefined {
    return this.#read<Seat>('seat.json')
  }

  get promise(): FoundingPromise | undefined {
    return this.#read<FoundingPromise>('promise.json')
  }

  get endpoints(): readonly string[] {
    return this.#read<readonly string[]>('endpoints.json') ?? []
  }

  /** A name for data that do not exist yet. What is left of an etcd that never began goes away. */
  async newSeat(address: string): Promise<Seat> {
    if (this.hasData) throw new SkeinError('internal', 'a member with data keeps its name')
    rmSync(this.data, { recursive: true, force: true })
    const seat = { name: `${address}-${randomBytes(4).toString('hex')}` }
    await this.#write('seat.json', seat)
    return seat
  }

  promiseTo(promise: FoundingPromise): Promise<void> {
    return this.#write('promise.json', promise)
  }

  rememberEndpoints(endpoints: readonly string[]): Promise<void> {
    return this.#write('endpoints.json', endpoints)
  }

  /** The member was removed from the cluster: its data are of no use to anybody but a reader of remains. One copy is kept. */
  putAsideData(): void {
    const aside = join(this.path, 'removed')
    rmSync(aside, { recursive: true, force: true })
    if (existsSync(this.data)) renameSync(this.data, aside)
    rmSync(join(this.path, 'seat.json'), { force: true })
  }

  #read<T>(name: string): T | undefined {
    const file = join(this.path, name)
    if (!existsSync(file)) return undefined
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as T
    } catch (cause) {
      throw new SkeinError('corrupt', `${file} cannot be read`, { details: { file }, cause })
    }
  }

  /** On disk when it resolves. */
  async #write(name: string, value: unknown): Promise<void> {
    const file = join(this.path, name)
    await writeDurably(`${file}.new`, [Buffer.from(`${JSON.stringify(value)}\n`)])
    await rename(`${file}.new`, file)
    await syncDirectory(this.path)
  }
}

export async function writeDurably(
  file: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const handle = await open(file, 'w', 0o600)
  try {
    for await (const chunk of chunks) await handle.write(chunk)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
