/** The dashboard of this very source for tests: built into a directory of its own, opened in a real browser under the strictest policy we promise. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { build } from 'vite'
import { expect } from 'vitest'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
export const hasBrowser = existsSync(executablePath)
export const startDeadlineMs = 60_000
export const seeDeadlineMs = 15_000
const strictPolicy = "default-src 'self'; style-src 'self'; img-src 'self' data:"
const typeByExtension: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

if (!hasBrowser) {
  const reason = `no browser at ${executablePath}; set CHROMIUM to one`
  if (process.env.CI === 'true') throw new Error(`the dashboard cannot be tested: ${reason}`)
  process.stderr.write(`\nSKIPPED: the tests of the dashboard: ${reason}\n`)
}

export function launch(): Promise<Browser> {
  // A page that we hand to the browser ourselves comes from nowhere: it would not be let to a local WebSocket.
  const args = ['--no-sandbox', '--disable-features=LocalNetworkAccessChecks']
  return chromium.launch({ executablePath, args })
}

/** Needs no build before it and disturbs none. */
export async function buildSite(directory: string): Promise<string> {
  const root = fileURLToPath(new URL('../../dashboard', import.meta.url))
  const outDir = join(directory, 'site')
  await build({ root, configFile: join(root, 'vite.config.ts'), logLevel: 'warn', build: { outDir } })
  return outDir
}

export interface Visit {
  readonly browser: Browser | undefined
  readonly site: string
  /** Of the node, and what follows. */
  readonly url: string
  /** What the browser may complain of here. */
  readonly expected?: RegExp | undefined
  readonly colorScheme?: 'dark' | 'light'
}

/** Opens the page and, at the end, wants silence from the console and from the policy. */
export async function visit(
  { browser, site, url, expected, colorScheme = 'dark' }: Visit,
  look: (page: Page) => Promise<void>,
): Promise<void> {
  if (browser === undefined) throw new Error('the browser did not start')
  const page = await browser.newPage({ viewport: { width: 1440, height: 1030 }, colorScheme })
  page.setDefaultTimeout(seeDeadlineMs)
  const complaints: string[] = []
  page.on('console', (message) => {
    const text = message.text()
    if (['error', 'warning'].includes(message.type()) && !expected?.test(text)) complaints.push(text)
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  try {
    await serveSite(page, site)
    await page.goto(url)
    await look(page)
  } finally {
    await page.close()
  }
  // A violation of the policy is an error on the console too.
  expect(complaints).toEqual([])
}

/** The page of this source under the strict policy; the API stays the node's own. */
async function serveSite(page: Page, site: string): Promise<void> {
  await page.route(
    ({ pathname }) => !pathname.startsWith('/api/') && pathname !== '/livez',
    async (route) => {
      const { pathname } = new URL(route.request().url())
      const file = pathname === '/' ? '/index.html' : pathname
      const headers = {
        'content-type': typeByExtension[extname(file)] ?? 'application/octet-stream',
        'content-security-policy': strictPolicy,
      }
      await route.fulfill({ headers, body: await readFile(join(site, file)) })
    },
  )
}
