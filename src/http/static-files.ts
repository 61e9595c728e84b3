/** The files of the dashboard and of the page about the API. They are listed once at start, so that no request can name a file outside of them. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { extname, join, relative, sep } from 'node:path'
import type { Answer } from './route.js'

const typeByExtension = new Map([
  ['.html', 'text/html; charset=utf-8'],
  ['.js', 'text/javascript; charset=utf-8'],
  ['.css', 'text/css; charset=utf-8'],
  ['.json', 'application/json; charset=utf-8'],
  ['.map', 'application/json; charset=utf-8'],
  ['.svg', 'image/svg+xml'],
  ['.png', 'image/png'],
  ['.ico', 'image/x-icon'],
  ['.woff2', 'font/woff2'],
])

const plainPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Skein</title>
<h1>Skein</h1><p>This node runs. Its dashboard was not built; see <a href="/api/cluster/status">status</a>,
<a href="/api/cluster/nodes">nodes</a>, <a href="/openapi.json">the API</a>.</p></html>
`

export class StaticFiles {
  private readonly files = new Map<string, string>()

  async load(directory: string | undefined): Promise<void> {
    if (directory === undefined || !(await isDirectory(directory))) return
    const entries = await readdir(directory, { recursive: true, withFileTypes: true })
    for (const entry of entries) {
      if (!entry.isFile()) continue
      const file = join(entry.parentPath, entry.name)
      this.files.set(`/${relative(directory, file).split(sep).join('/')}`, file)
    }
  }

  has(path: string): boolean {
    return path === '/' || this.files.has(path) || this.files.has(pageOf(path))
  }

  async read(path: string): Promise<Answer | undefined> {
    const page = pageOf(path)
    if (!path.endsWith('/') && this.files.has(page))
      return { status: 308, headers: { location: `${path.slice(path.lastIndexOf('/') + 1)}/` }, body: '' }
    const name = path.endsWith('/') ? page : path
    const file = this.files.get(name)
    if (file === undefined)
      return path === '/' ? { contentType: 'text/html; charset=utf-8', body: plainPage } : undefined
    return {
      contentType: typeByExtension.get(extname(file)) ?? 'application/octet-stream',
      headers: {
        'cache-control': name.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
      },
      body: await readFile(file),
    }
  }
}

/** Of a folder, with or without the slash at its end. */
function pageOf(path: string): string {
  return path.endsWith('/') ? `${path}index.html` : `${path}/index.html`
}

async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found?.isDirectory() ?? false
}
