/** The page about the API, served by a real node from what was built, under the policy that it is served with. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHttpServer, type HttpServer } from '../../src/http/server.js'
import { createNode, type SkeinNode } from '../../src/index.js'
import { createToken, TokenKeeper } from '../../src/keys/tokens.js'
import { buildSite, hasBrowser, launch, seeDeadlineMs, startDeadlineMs } from './site.js'

describe.skipIf(!hasBrowser)('the page about the API', () => {
  let directory: string
  let browser: Browser
  let node: SkeinNode
  const servers: HttpServer[] = []

  const quiet = { info() {}, warn() {}, error() {} }
  async function serve(tokens?: TokenKeeper): Promise<string> {
    const server = createHttpServer(node, {
      host: '127.0.0.1',
      port: 0,
      allowedHosts: [],
      allowedOrigins: [],
      insecure: false,
      log: quiet,
      dashboardDir: join(directory, 'site'),
      tokens,
    })
    servers.push(server)
    return (await server.listen()).url
  }

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-docs-'))
    await buildSite(directory)
    const dataDir = join(directory, 'one')
    node = await createNode({
      nodeId: 'one',
      dataDir,
      threads: 'inline',
      http: false,
      peerPort: 0,
      logLevel: 'silent',
    })
    browser = await launch()
  }, startDeadlineMs)

  afterAll(async () => {
    await browser?.close()
    for (const server of servers) await server.close()
    await node?.stop()
    await rm(directory, { recursive: true, force: true })
  }, startDeadlineMs)

  /** What the browser complained of, and where it went for what. */
  async function open(url: string) {
    const page = await browser.newPage()
    page.setDefaultTimeout(seeDeadlineMs)
    const complaints: string[] = []
    const hosts = new Set<string>()
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => {
      const { protocol, host } = new URL(request.url())
      if (protocol !== 'data:' && protocol !== 'blob:') hosts.add(host)
    })
    await page.goto(url)
    return { page, complaints, hosts }
  }

  it('shows every operation and tries one out, with nothing from elsewhere', async () => {
    const url = await serve()
    const { page, complaints, hosts } = await open(`${url}/docs`)
    expect(page.url()).toBe(`${url}/docs/`)
    const operation = page.locator('.opblock', { hasText: '/api/cluster/leader' }).first()
    await operation.click()
    await operation.getByRole('button', { name: 'Try it out' }).click()
    await operation.getByRole('button', { name: 'Execute' }).click()
    await operation.locator('.live-responses-table', { hasText: '"leader_id": "one"' }).waitFor()
    const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, object> }
    const count = Object.values(paths).reduce((sum, methods) => sum + Object.keys(methods).length, 0)
    expect(await page.locator('.opblock').count()).toBe(count)
    expect([...hosts]).toEqual([new URL(url).host])
    expect(complaints).toEqual([])
    await page.close()
  }, 60_000)

  it('says where to log in when the node does not know the reader', async () => {
    const tokenFile = join(directory, 'tokens')
    createToken(tokenFile, 'viewer', 'a-reader')
    const keeper = new TokenKeeper(tokenFile, { changed() {}, refused() {} })
    const { page } = await open(`${await serve(keeper)}/docs/`)
    const link = page.getByRole('link', { name: 'Log in on the dashboard' })
    await link.waitFor()
    expect(await link.getAttribute('href')).toBe('../')
    await page.close()
    keeper.close()
  }, 60_000)
})
