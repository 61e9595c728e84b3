/** Real processes for tests: a fixture is bundled once from source and started; its lines are read as they come. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const fixtures = ['cas-worker', 'freezer', 'leader', 'life-holder'] as const
export type Fixture = (typeof fixtures)[number]

/** Inside the project, so that the bundles find its dependencies. */
const root = fileURLToPath(new URL('../..', import.meta.url))

export class Fixtures {
  readonly #directory = `${root}/node_modules/.cache/skein-fixtures-${process.pid}`
  readonly #children = new Set<Child>()

  async build(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true })
    await build({
      entryPoints: fixtures.map((name) => `${root}/test/store/fixtures/${name}.ts`),
      outdir: this.#directory,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      packages: 'external',
    })
  }

  start(name: Fixture, ...args: string[]): Child {
    const child = new Child(spawn(process.execPath, [`${this.#directory}/${name}.mjs`, ...args]))
    this.#children.add(child)
    return child
  }

  /** Kills what still runs. */
  async endChildren(): Promise<void> {
    for (const child of this.#children) await child.kill()
    this.#children.clear()
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

export class Child {
  readonly process: ChildProcess
  readonly lines: string[] = []
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  #stderr = ''
  #wake: () => void = () => undefined

  constructor(process: ChildProcess) {
    this.process = process
    this.exited = once(process, 'close').then(([code, signal]) => ({ code, signal }))
    createInterface({ input: process.stdout! }).on('line', (line) => {
      this.lines.push(line)
      this.#wake()
    })
    process.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString()
    })
  }

  /** The n-th line of stdout (from 0), awaited. */
  async line(n: number, timeoutMs = 10_000): Promise<string> {
    const deadline = setTimeout(() => this.#wake(), timeoutMs)
    const startedMs = Date.now()
    void this.exited.then(() => this.#wake())
    while (this.lines[n] === undefined) {
      if (Date.now() - startedMs >= timeoutMs || this.process.exitCode !== null) {
        throw new Error(`no line ${n} from the child; it said ${this.lines.join(' | ')} ${this.#stderr}`)
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    clearTimeout(deadline)
    return this.lines[n]
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.process.kill(name)
  }

  say(line: string): void {
    this.process.stdin!.write(`${line}\n`)
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.exited
  }
}
