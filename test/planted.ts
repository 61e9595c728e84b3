/** A module with one planted bug, bundled with what it imports: for tests that prove that a checker finds it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = resolve(import.meta.dirname, '..')

export interface PlantedBug {
  /** As a reader would say it. */
  readonly name: string
  /** From the root of the project. */
  readonly file: string
  /** Must be there exactly once. */
  readonly find: string
  readonly replace: string
}

/** Writes the bundle. Throws when the bug cannot be planted, or its file is not part of it. */
export async function bundleWith(bug: PlantedBug, entry: string, outfile: string): Promise<void> {
  let isPlanted = false
  await build({
    entryPoints: [join(root, entry)],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    logLevel: 'silent',
    plugins: [
      {
        name: 'plant',
        setup(builder) {
          builder.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const text = await readFile(path, 'utf8')
            if (path !== join(root, bug.file)) return { contents: text, loader: 'ts' }
            const parts = text.split(bug.find)
            if (parts.length !== 2)
              throw new Error(`"${bug.name}": found ${parts.length - 1} times in ${bug.file}, must be once`)
            isPlanted = true
            return { contents: parts.join(bug.replace), loader: 'ts' }
          })
        },
      },
    ],
  })
  if (!isPlanted) throw new Error(`"${bug.name}": ${bug.file} is not part of ${entry}`)
}

/** The module itself, for what needs no process of its own. */
export async function importWith<M>(bug: PlantedBug, entry: string): Promise<M> {
  const dir = await mkdtemp(join(tmpdir(), 'skein-planted-'))
  try {
    const outfile = join(dir, 'bundle.mjs')
    await bundleWith(bug, entry, outfile)
    return (await import(pathToFileURL(outfile).href)) as M
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
