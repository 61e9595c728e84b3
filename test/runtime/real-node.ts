/** Nodes as real processes out of a copy of the built files, so that a test can run two builds side by side or plant a bug in one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../..')

export interface RealNode {
  readonly id: string
  readonly url: string
  /** host:port of its mesh. */
  readonly peer: string
  readonly child: ChildProcess
}

/** A copy of what was built. */
export class Build {
  readonly directory: string

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'skein-build-'))
    for (const name of ['bin', 'dist', 'package.json'])
      cpSync(join(root, name), join(this.directory, name), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(this.directory, 'node_modules'))
  }

  /** Changes a built file; what is to be changed must be there exactly once. */
  change(file: string, find: string, replace: string): void {
    const path = join(this.directory, 'dist', file)
    const parts = readFileSync(path, 'utf8').split(find)
    if (parts.length !== 2) throw new Error(`"${find}" is ${parts.length - 1} times in ${file}`)
    writeFileSync(path, parts.join(replace))
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

export class RealNodes {
  readonly data = mkdtempSync(join(tmpdir(), 'skein-nodes-'))
  private readonly children: ChildProcess[] = []

  /** Resolves when the node says that it is up; rejects with what it printed if it ends before. */
  async start(
    build: Build,
    id: string,
    options: readonly string[] = [],
    variables: Readonly<Record<string, string>> = {},
  ): Promise<RealNode> {
    const args = ['bin/skein.js', 'start', '--node-id', id, '--data-dir', join(this.data, id)]
    args.push('--preset', 'local', '--log-level', 'error', ...options)
    for (const flag of ['--port', '--peer-port']) if (!options.includes(flag)) args.push(flag, '0')
    const env = { ...process.env, ...variables }
    const child = spawn(process.execPath, args, {
      cwd: build.directory,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.children.push(child)
    let out = ''
    child.stderr?.on('data', (chunk) => {
      out += chunk
    })
    return await new Promise((done, failed) => {
      child.stdout?.on('data', (chunk) => {
        out += chunk
        const match = /(http:\/\/\S+?)\/?\s+peers connect to (\S+)/.exec(out)
        if (match !== null) done({ id, url: match[1] as string, peer: match[2] as string, child })
      })
      child.once('exit', (code) => failed(new Error(`${id} ended with ${code}: ${out}`)))
    })
  }

  /** By default as hard as can be. */
  async end(node: RealNode, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    if (node.child.exitCode !== null || node.child.signalCode !== null) return
    const exited = once(node.child, 'exit')
    node.child.kill(signal)
    await exited
  }

  async close(): Promise<void> {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    }
    rmSync(this.data, { recursive: true, force: true })
  }
}

/** What `look` finds, once it does; a failed look counts as nothing found. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined>,
  deadlineMs = 20_000,
): Promise<T> {
  const untilMs = Date.now() + deadlineMs
  let trouble = ''
  for (;;) {
    try {
      const found = await look()
      if (found !== undefined) return found
    } catch (error) {
      trouble = String(error)
    }
    if (Date.now() > untilMs) throw new Error(`waited ${deadlineMs} ms for ${what}; last: ${trouble}`)
    await new Promise((wait) => setTimeout(wait, 100))
  }
}

export async function getJson<T>(url: string): Promise<T> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) })
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`)
  return (await response.json()) as T
}
