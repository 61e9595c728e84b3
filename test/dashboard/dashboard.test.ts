/**
 * The dashboard in a real browser against a real node: what a person sees first is there, the browser complains about nothing,
 * and the same holds under the strictest content security policy we promise to work with. The page is built into a directory
 * of its own, so that this test needs no build before it and disturbs none.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createToken } from '../../src/keys/tokens.js'
import { createNode } from '../../src/runtime/create-node.js'
import type { SkeinNode } from '../../src/runtime/node-api.js'
import { buildSite, hasBrowser, launch, seeDeadlineMs, startDeadlineMs, visit } from './site.js'

describe.skipIf(!hasBrowser)('the dashboard of a real node', () => {
  let directory: string
  let site: string
  let node: SkeinNode | undefined
  let browser: Browser | undefined

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-dashboard-'))
    site = await buildSite(directory)
    node = await createNode({
      nodeId: 'node-1',
      clusterName: 'dashboard-test',
      dataDir: join(directory, 'data', 'node-1'),
      port: 0,
      peerPort: 0,
      threads: 'inline',
      http: true,
      logLevel: 'warn',
    })
    browser = await launch()
  }, startDeadlineMs)

  afterAll(async () => {
    await browser?.close()
    await node?.stop({ reason: 'test over', deadlineMs: 5_000 })
    await rm(directory, { recursive: true, force: true })
  }, startDeadlineMs)

  it('shows the node, its leader and term, and who owns the shards', async () => {
    await withPage(async (page) => {
      const row = page.locator('[data-node="node-1"]')
      await row.getByText('online').waitFor({ timeout: seeDeadlineMs })
      expect(await row.textContent()).toContain('this node')
      await row.getByLabel('leader').waitFor({ timeout: seeDeadlineMs })
      await page.getByText('dashboard-test').waitFor({ timeout: seeDeadlineMs })
      const leader = page.getByTestId('leader').filter({ hasText: /leader node-1 · term [1-9]/ })
      await leader.waitFor({ timeout: seeDeadlineMs })
      await page.getByRole('button', { name: 'node-1 256' }).waitFor({ timeout: seeDeadlineMs })
      expect(await shards(page).getByRole('option').count()).toBe(256)
      await page.getByTestId('live').filter({ hasText: 'live' }).waitFor({ timeout: seeDeadlineMs })
      const marker = page.locator('.marker[data-tip*="elected leader"]').first()
      await marker.waitFor({ timeout: seeDeadlineMs })
    })
  })

  it('tells why a node has its status, and gives the focus back after Escape', async () => {
    await withPage(async (page) => {
      const button = page.getByRole('button', { name: 'Why is node-1' })
      await button.click({ timeout: seeDeadlineMs })
      await page.getByRole('dialog').locator('.summary').waitFor({ timeout: seeDeadlineMs })
      await page.keyboard.press('Escape')
      await page.getByRole('dialog').waitFor({ state: 'detached', timeout: seeDeadlineMs })
      expect(await button.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true)
    })
  })

  it('keeps which page, which node and which moment is looked at in the address', async () => {
    await withPage(async (page) => {
      await page.locator('[data-station="node-1"]').click()
      const drawer = page.getByRole('dialog', { name: 'Why is node-1' })
      await drawer.getByRole('heading', { name: 'CPU and memory of its host' }).waitFor()
      await page.reload()
      await drawer.locator('.summary').waitFor()
      await page.goBack()
      await drawer.waitFor({ state: 'detached' })
      await page.getByLabel('Moment that is looked at').focus()
      await page.keyboard.press('PageDown')
      await page.getByTestId('replay').waitFor()
      await page.reload()
      await page.getByTestId('replay').getByRole('button', { name: 'Back to live' }).click()
      await page.getByTestId('replay').waitFor({ state: 'detached' })
      await page.getByRole('link', { name: 'Events', exact: true }).click()
      await page.getByRole('heading', { name: 'As they come' }).waitFor()
      await page.goBack()
      await page.locator('[data-node="node-1"]').waitFor()
    })
  })

  it('follows events as they come, leads to a key, and shows who did what', async () => {
    await withPage(async (page) => {
      await page.getByRole('link', { name: 'Events', exact: true }).click()
      await page.getByTestId('tail-state').filter({ hasText: 'live' }).waitFor()
      await node?.events.publish('orders', { key: 'a', payload: { n: 1 } })
      await node?.events.publish('orders', { key: 'b', payload: { n: 2 } })
      const tail = page.getByRole('table', { name: 'Events as they come' })
      await tail.getByText('{"n":2}').waitFor()
      await tail.getByRole('button', { name: 'a', exact: true }).click()
      const stored = page.getByRole('table', { name: 'Stored events' })
      await stored.getByText('{"n":1}').waitFor()
      expect(await stored.getByText('{"n":2}').count()).toBe(0)
      const { shard } = node?.cluster.route('a') ?? {}
      await page
        .getByTestId('route')
        .filter({ hasText: `shard ${shard}, on node-1` })
        .waitFor()
      expect(await page.evaluate<string>('location.search + location.hash')).toBe(
        '?stream=orders&key=a#events',
      )
      await page.getByRole('link', { name: 'Cluster', exact: true }).click()
      await page.getByRole('button', { name: 'Cordon node-1' }).click()
      await page.getByRole('button', { name: 'Uncordon node-1' }).click()
      await page.getByRole('button', { name: 'Cordon node-1', exact: true }).waitFor()
      await page.getByRole('link', { name: 'Audit', exact: true }).click()
      const row = page.getByRole('row').filter({ hasText: '/api/cluster/nodes/{id}/uncordon' })
      await row.filter({ hasText: /✓ 20\d/ }).waitFor()
    })
  })

  it('tells owner and epoch of a shard to a keyboard alone', async () => {
    await withPage(async (page) => {
      await page.getByRole('button', { name: 'node-1 256' }).waitFor({ timeout: seeDeadlineMs })
      await shards(page).focus()
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('ArrowRight')
      await page.getByText(/^shard 33, owner node-1, epoch [1-9]/).waitFor({ timeout: seeDeadlineMs })
    })
  })

  it.each([360, 1440])('fits a window %i pixels wide', async (width) => {
    await withPage(async (page) => {
      await page.setViewportSize({ width, height: 900 })
      await page.locator('[data-node="node-1"]').waitFor({ timeout: seeDeadlineMs })
      const overflow = await page.locator('html').evaluate((html) => html.scrollWidth - html.clientWidth)
      expect(overflow).toBe(0)
    })
  })

  it('says that the connection is lost, how old its data is, and recovers by itself', async () => {
    const expected = /Failed to load resource/
    await withPage(async (page) => {
      await page.locator('[data-node="node-1"]').waitFor({ timeout: seeDeadlineMs })
      await page.route('**/api/**', (route) => route.abort())
      await page.getByText(/Data is \d+ s old/).waitFor({ timeout: seeDeadlineMs })
      await page.getByTestId('live').filter({ hasText: 'lost' }).waitFor({ timeout: seeDeadlineMs })
      await page.unroute('**/api/**')
      await page.getByRole('button', { name: 'Try now' }).click()
      await page.getByText('Connection lost').waitFor({ state: 'detached', timeout: seeDeadlineMs })
    }, expected)
  })

  it('asks for a token where one is needed, shows who is looking, and lets go', async () => {
    const tokenFile = join(directory, 'tokens')
    const secret = createToken(tokenFile, 'viewer', 'grace')
    const guarded = await createNode({
      nodeId: 'guarded',
      dataDir: join(directory, 'guarded', 'node-1'),
      port: 0,
      peerPort: 0,
      threads: 'inline',
      tokenFile,
      logLevel: 'silent',
    })
    // What the browser says of a 401 is expected, and nothing else.
    const expected = /status of 401/
    await withPage(
      async (page) => {
        const field = page.getByLabel('Token')
        await field.fill('not a token', { timeout: seeDeadlineMs })
        await page.getByRole('button', { name: 'Log in' }).click()
        await page.getByRole('alert').filter({ hasText: '(401)' }).waitFor({ timeout: seeDeadlineMs })
        await field.fill(secret)
        await page.keyboard.press('Enter')
        const row = page.locator('[data-node="guarded"]')
        await row.getByText('online').waitFor({ timeout: seeDeadlineMs })
        await page.getByTestId('live').filter({ hasText: 'live' }).waitFor({ timeout: seeDeadlineMs })
        expect(await page.getByTestId('who').textContent()).toContain('grace (viewer)')
        // Who may only look is offered nothing to do.
        expect(await page.getByRole('button', { name: 'Drain' }).count()).toBe(0)
        await page.getByRole('link', { name: 'Agents', exact: true }).click()
        expect(await page.getByRole('button', { name: 'Rebalance' }).isDisabled()).toBe(true)
        await page.getByRole('link', { name: 'Audit', exact: true }).click()
        await page.getByText('needs the role admin').waitFor()
        await page.getByRole('link', { name: 'Cluster', exact: true }).click()
        await page.reload()
        await row.getByText('online').waitFor({ timeout: seeDeadlineMs })
        await page.getByRole('button', { name: 'Log out' }).click()
        await field.waitFor({ timeout: seeDeadlineMs })
        expect(await row.count()).toBe(0)
      },
      expected,
      guarded,
    ).finally(() => guarded.stop())
  })

  async function withPage(
    look: (page: Page) => Promise<void>,
    expected?: RegExp,
    of: SkeinNode | undefined = node,
  ): Promise<void> {
    if (of === undefined) throw new Error('the node did not start')
    await visit({ browser, site, url: `http://${of.self.httpAddress}/`, expected }, look)
  }
})

function shards(page: Page) {
  return page.getByRole('listbox', { name: 'Shards' })
}
