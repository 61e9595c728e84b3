/** A real browser for the proofs: pages that may not complain, ask nobody but the cluster, and are looked through by axe; pictures into a directory outside the repository. */
import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import axe from 'axe-core'
import { type Browser, chromium, type Page } from 'playwright-core'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
export const hasBrowser = existsSync(executablePath)
export const seeMs = 30_000

/** What axe calls serious or worse, as it says it. */
export interface Finding {
  readonly rule: string
  readonly where: string
}

export function launchBrowser(args: readonly string[] = []): Promise<Browser> {
  return chromium.launch({ executablePath, args: ['--no-sandbox', ...args] })
}

/** Where pictures go: `SKEIN_ARTIFACTS`, else a directory of the system for such things. */
export function artifacts(name: string): string {
  const directory = join(process.env.SKEIN_ARTIFACTS ?? join(tmpdir(), 'skein-artifacts'), name)
  mkdirSync(directory, { recursive: true })
  return directory
}

/** A page, and what was wrong with it so far. */
export class Watched {
  readonly page: Page
  /** Errors and warnings on the console, and uncaught ones. */
  readonly complaints: string[] = []
  /** Requests to anybody but `hosts`. */
  readonly strangers: string[] = []
  /** What may be said at the moment: a browser tells of every request that fails. */
  expected: RegExp | null = null

  private constructor(page: Page) {
    this.page = page
  }

  static async open(
    browser: Browser,
    hosts: ReadonlySet<string>,
    look: { readonly width: number; readonly height: number; readonly colorScheme?: 'dark' | 'light' },
  ): Promise<Watched> {
    const { width, height, colorScheme = 'dark' } = look
    const page = await browser.newPage({ viewport: { width, height }, colorScheme })
    page.setDefaultTimeout(seeMs)
    const watched = new Watched(page)
    const complain = (text: string): void => {
      if (watched.expected?.test(text) !== true) watched.complaints.push(text)
    }
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complain(message.text())
    })
    page.on('pageerror', (error) => complain(error.message))
    page.on('request', (request) => {
      const { host, protocol } = new URL(request.url())
      if (protocol !== 'data:' && protocol !== 'blob:' && !hosts.has(host))
        watched.strangers.push(request.url())
    })
    page.on('websocket', (socket) => {
      const { host } = new URL(socket.url())
      if (!hosts.has(host)) watched.strangers.push(socket.url())
    })
    return watched
  }

  /** Serious and critical findings. The page's policy lets no script in; the browser's own door does. */
  async audit(): Promise<readonly Finding[]> {
    const { page } = this
    await page.evaluate(axe.source)
    return await page.evaluate<
      Finding[]
    >(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
      violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').flatMap(({ id, nodes }) =>
        nodes.slice(0, 3).map(({ target, failureSummary }) => ({ rule: id, where: target.join(' ') + ': ' + failureSummary }))))`)
  }
}
