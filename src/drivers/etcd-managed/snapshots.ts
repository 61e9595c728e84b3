/**
 * Copies of the whole store in files of etcd's own snapshot format, `<revision>-<time>.db`, which `etcdctl snapshot restore` reads.
 * Each member's node takes its own and keeps the newest ones. etcd appends a SHA-256 of the rest; a copy without it is thrown away.
 */
import { createHash } from 'node:crypto'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'
import { calls } from '../../engines/etcd/codec.js'
import type { Endpoint } from '../../engines/etcd/endpoint.js'
import { EtcdFailure } from '../../engines/etcd/failure.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { syncDirectory, writeDurably } from './home.js'

const hashBytes = 32
const transferMsMax = 120_000

/** Resolves to the file. Throws `corrupt`, or what the transfer throws; then nothing is left behind. */
export async function takeSnapshot(
  endpoint: Endpoint,
  directory: string,
  label: string,
  keep: number,
  signal: AbortSignal,
): Promise<string> {
  const time = new Date().toISOString().replaceAll(/[:.]/g, '-')
  const file = join(directory, `${label}-${time}.db`)
  const options = { deadlineMs: monotonicMs() + transferMsMax, signal }
  const blobs = async function* () {
    for await (const { blob } of endpoint.download(calls.snapshot, {}, options)) yield blob
  }
  try {
    await writeDurably(`${file}.part`, blobs())
    await verify(`${file}.part`)
    await rename(`${file}.part`, file)
    await syncDirectory(directory)
  } catch (error) {
    await rm(`${file}.part`, { force: true })
    throw error instanceof EtcdFailure ? error.toSkeinError() : error
  }
  const old = (await snapshotsIn(directory)).slice(0, -keep)
  for (const name of old) await rm(join(directory, name), { force: true })
  return file
}

/** Oldest first. */
export async function snapshotsIn(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.db'))
  const timeOf = (name: string) => name.slice(name.indexOf('-') + 1)
  return names.sort((a, b) => (timeOf(a) < timeOf(b) ? -1 : 1))
}

async function verify(file: string): Promise<void> {
  const handle = await open(file, 'r')
  try {
    const { size } = await handle.stat()
    const hash = createHash('sha256')
    const bodyBytes = size - hashBytes
    if (bodyBytes > 0) {
      for await (const chunk of handle.createReadStream({ end: bodyBytes - 1, autoClose: false })) {
        hash.update(chunk as Buffer)
      }
      const tail = Buffer.alloc(hashBytes)
      await handle.read(tail, 0, hashBytes, bodyBytes)
      if (hash.digest().equals(tail)) return
    }
    throw new SkeinError('corrupt', 'a snapshot of etcd came without its checksum', {
      details: { file, size },
    })
  } finally {
    await handle.close()
  }
}
