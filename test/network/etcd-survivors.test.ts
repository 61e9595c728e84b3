/** Managed etcd ends a survivor of its own data directory before it starts, and nobody else's under the same path. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { EtcdProcess } from '../../src/drivers/etcd-managed/process.js'
import { isWithoutNetLab } from '../../tools/prove/lib/netlab.js'

/** Looks like etcd to whoever reads its arguments, and ends when its input does. */
const look = 'echo up; read line'

function start(program: string, args: readonly string[]): ChildProcess {
  return spawn(program, [...args], { stdio: ['pipe', 'pipe', 'inherit'] })
}

describe.skipIf(isWithoutNetLab('survivors of managed etcd'))('survivors of managed etcd', () => {
  it('are ended when the data directory is theirs, not when only its path is', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-survivors-'))
    const [disk, other] = [join(directory, 'disk'), join(directory, 'other')]
    for (const each of [disk, other]) mkdirSync(join(each, 'etcd'), { recursive: true })
    const argument = `--data-dir=${join(disk, 'etcd')}`
    const ours = start('sh', ['-c', look, 'sh', argument])
    const mount = `mount --bind "$1" "$2" && exec sh -c '${look}' sh "$3"`
    const theirs = start('unshare', ['--mount', 'sh', '-c', mount, 'sh', other, disk, argument])
    const etcd = new EtcdProcess({
      binary: '/bin/sleep',
      dataDir: join(disk, 'etcd'),
      args: ['30'],
      onExit: () => Promise.resolve(false),
    })
    try {
      await Promise.all([ours, theirs].map((child) => once(child.stdout as NodeJS.ReadableStream, 'data')))
      const ended = once(ours, 'exit')
      etcd.start()
      expect(await ended).toEqual([null, 'SIGKILL'])
      await sleep(50)
      expect([theirs.exitCode, theirs.signalCode]).toEqual([null, null])
    } finally {
      await etcd.stop()
      for (const child of [ours, theirs]) child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
    }
  })
})
