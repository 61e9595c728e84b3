/**
 * What programs use, in the dashboard: a real browser on one of two real nodes. What it shows is what the programs did, and what is done on the page is
 * checked against the other node.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SkeinClient } from '../../src/client/index.js'
import { createToken } from '../../src/keys/tokens.js'
import { createNode } from '../../src/runtime/create-node.js'
import type { NodeConfig, ProcessorContext, SkeinNode } from '../../src/runtime/node-api.js'
import { defineProcessor } from '../../src/runtime/processing/definition.js'
import { until } from '../runtime/real-node.js'
import { contrastsOf } from './contrast.js'
import { buildSite, hasBrowser, launch, startDeadlineMs, visit } from './site.js'

const Wait = defineProcessor(
  'wait',
  (_: unknown, { signal }: ProcessorContext) =>
    new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason))),
)
const Job = defineProcessor('job', () => undefined, { isIdempotent: true })
const busy = /Failed to load resource/

describe.skipIf(!hasBrowser)('what programs use, in the dashboard', () => {
  let directory: string
  let site: string
  let browser: Browser | undefined
  let one: SkeinNode
  let two: SkeinNode
  let lonely: SkeinNode
  let secret: string
  const running: SkeinNode[] = []
  const clients: SkeinClient[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-panels-'))
    site = await buildSite(directory)
    const tokenFile = join(directory, 'tokens')
    secret = createToken(tokenFile, 'viewer', 'grace')
    one = await start('node-1')
    two = await start('node-2', { peers: [one.self.peerAddress] })
    lonely = await start('lonely', { tokenFile })
    browser = await launch()
    await until('both nodes, and their shards', async () => {
      const isWhole = (node: SkeinNode): boolean =>
        node.members.list().filter(({ status }) => status === 'online').length === 2 &&
        node.cluster.shards().every(({ state }) => state === 'open')
      return [one, two].every(isWhole) ? true : undefined
    })
  }, startDeadlineMs)

  afterAll(async () => {
    for (const client of clients) client.close()
    await browser?.close()
    await Promise.all(running.map((node) => node.stop({ reason: 'test over', deadlineMs: 3_000 })))
    await rm(directory, { recursive: true, force: true })
  }, startDeadlineMs)

  it('shows who offers a service, how well, and with which methods; and who holds a name and who is next', async () => {
    for (const node of [one, two]) {
      node.services.provide('pricing', { quote: () => 7, hang: () => new Promise(() => undefined) })
      await node.names.register('scheduler', { next: () => 1 }, { kind: 'well_known' })
    }
    await until('all of it on the page’s node', async () => {
      const holder = one.names.list().find(({ name }) => name === 'scheduler')
      const isKnown = one.services.find('pricing')?.instances.length === 2
      return isKnown && holder?.successors.length === 1 ? true : undefined
    })
    for (let i = 0; i < 5; i++)
      await one.services
        .call('pricing', 'hang', null, { nodeId: 'node-2', timeoutMs: 30, retries: 0 })
        .catch(() => undefined)
    await withPage('#services', async (page) => {
      const service = page.locator('[data-service="pricing"]')
      await service.getByText('1 of 2 take calls').or(service.getByText('2 of 2 take calls')).waitFor()
      await service.getByRole('button', { name: 'pricing' }).focus()
      await page.keyboard.press('Enter')
      const instances = page.getByRole('table', { name: 'Instances of pricing' })
      await instances.locator('[data-instance="node-1"]').getByText('closed').waitFor()
      const second = instances.locator('[data-instance="node-2"]')
      await second.getByText(/^(open|half open)$/).waitFor()
      await second.getByText('healthy').waitFor()
      expect(await second.getByRole('listitem').allTextContents()).toEqual(
        expect.arrayContaining([expect.stringContaining('quote'), expect.stringContaining('hang')]),
      )
      expect(await queryOf(page)).toEqual({ service: 'pricing' })

      const name = page.locator('[data-name="scheduler"]')
      const { nodeId, successors } = one.names.list().find((each) => each.name === 'scheduler') ?? {}
      await name.getByText('well known').waitFor()
      expect(await name.getByRole('cell').nth(1).textContent()).toBe(nodeId)
      expect(await name.getByRole('cell').nth(3).textContent()).toBe(successors?.join())
      await page.getByLabel('Text in the names').fill('nothing is called so')
      await page.getByText('No name is like that').waitFor()
      await page.reload()
      await instances.waitFor()
      expect(await page.getByLabel('Text in the names').inputValue()).toBe('nothing is called so')
    })
  })

  it('shows rooms and sessions over both nodes, who is present, and lets an operator say something to all', async () => {
    const heard: unknown[] = []
    for (const [node, user] of [
      [one, 'ada'],
      [two, 'bob'],
    ] as const) {
      const client = new SkeinClient({ addresses: [node.self.httpAddress], discover: false, user })
      clients.push(client)
      client.on('message', ({ data }) => heard.push([user, data]))
      await client.join('lobby')
    }
    const kept = await clients[0]?.join('kept/minutes')
    expect(kept).toBeDefined()
    await withPage('#rooms', async (page) => {
      const room = page.locator('[data-room="lobby"]')
      await room.getByText('node-1 1, node-2 1').waitFor()
      await page.locator('[data-room="kept/minutes"]').getByText('history').waitFor()
      const sessions = page.getByRole('table', { name: 'Sessions' })
      await sessions.getByRole('row').filter({ hasText: 'bob' }).getByText('node-2').waitFor()
      await page.getByLabel('Sessions of the user').fill('ada')
      await sessions.getByText('bob').waitFor({ state: 'detached' })
      await page.getByLabel('Rooms that begin with').fill('lob')
      await page.locator('[data-room="kept/minutes"]').waitFor({ state: 'detached' })
      expect(await queryOf(page)).toEqual({ user: 'ada', rooms: 'lob' })

      await room.getByRole('button', { name: 'lobby' }).click()
      const drawer = page.getByRole('dialog', { name: 'Room lobby' })
      await drawer.locator('[data-member="ada"]').getByText('node-1').waitFor()
      await drawer.locator('[data-member="bob"]').getByText('node-2').waitFor()
      await drawer.getByLabel('Message to lobby').fill('{"text": "fire drill"}')
      await drawer.getByRole('button', { name: 'Broadcast' }).click()
      await page.getByRole('log', { name: 'Outcomes' }).getByText('Said to lobby').waitFor()
      const said = { text: 'fire drill' }
      await until('both to hear it', async () => (heard.length === 2 ? true : undefined))
      expect(heard).toEqual(
        expect.arrayContaining([
          ['ada', said],
          ['bob', said],
        ]),
      )
      await clients[1]?.leave('lobby')
      await drawer.locator('[data-member="bob"]').waitFor({ state: 'detached' })
      await page.goBack()
      await drawer.waitFor({ state: 'detached' })

      await page.goto(`http://${one.self.httpAddress}/?room=kept%2Fminutes`)
      const minutes = page.getByRole('dialog', { name: 'Room kept/minutes' })
      await minutes.getByText('Nothing more was said here').waitFor()
      await minutes.getByLabel('Message to kept/minutes').fill('plain words')
      await minutes.getByRole('button', { name: 'Broadcast' }).click()
      await minutes.getByRole('listitem').getByText('"plain words"').waitFor()
    })
  })

  it('shows processors, what runs, and the load of streams; ends a run after its plan', async () => {
    for (const node of [one, two]) {
      node.processors.register(Wait)
      node.processors.process('jobs', Job)
    }
    await until('both to be known', async () => {
      const all = await one.processors.list()
      return all.filter((n) => n.registered.some(({ name }) => name === 'wait')).length === 2
        ? true
        : undefined
    })
    const run = await one.spawn(Wait, null, { on: 'node-2' })
    const ended = run.result.catch((error: unknown) => error)
    await one.events.publish('jobs', { key: 'a', payload: 1 })
    await withPage('#processors', async (page) => {
      await page.locator('[data-processor="job"]').getByText('node-1, node-2').waitFor()
      await page.locator('[data-processor="job"]').getByText('yes').waitFor()
      await page.locator('[data-stream="jobs"]').first().waitFor()
      const row = page.locator(`[data-run="${run.id}"]`)
      await row.getByRole('cell', { name: 'node-2', exact: true }).waitFor()
      await row.getByRole('button', { name: `Kill ${run.id}` }).click()
      const dialog = page.getByRole('dialog', { name: `Kill ${run.id}` })
      await dialog.getByText('Its signal aborts').waitFor()
      expect((await two.processors.show(run.id)) as object).toMatchObject({ isStopping: false })
      await dialog.getByLabel('Reason').fill('seen enough')
      await dialog.getByRole('button', { name: 'Kill', exact: true }).click()
      await dialog.getByRole('status').filter({ hasText: 'was told to stop' }).waitFor()
      await dialog.getByRole('button', { name: 'Close' }).click()
      await row.waitFor({ state: 'detached' })
      expect(await ended).toMatchObject({ code: 'aborted', details: { reason: 'seen enough' } })
    })
  })

  it('shows maps with what their keys hold, and marks where a value lost against a concurrent one', async () => {
    // In the same turn neither has the other's.
    one.map('presence').set('ada', { at: 'desk' })
    two.map('presence').set('ada', { at: 'home' })
    for (let i = 100; i < 170; i++) one.map('many').set(`key-${i}`, i)
    one.map('many').counter('visits').add(3)
    await until('the conflict', async () =>
      one.map('presence').conflicts().length === 1 && two.map('presence').conflicts().length === 1
        ? true
        : undefined,
    )
    await withPage('#maps', async (page) => {
      await page.getByTestId('map-conflicts').getByText('▲').waitFor()
      await page.getByRole('button', { name: 'presence' }).click()
      const presence = page.getByRole('dialog', { name: 'Map presence' })
      const entry = presence.locator('[data-key="ada"]')
      await entry.getByText('won against 1 value').waitFor()
      const [won, lost] = await entry.locator('code').allTextContents()
      expect(JSON.parse(won ?? '')).toEqual(one.map('presence').get('ada'))
      expect([won, lost].sort()).toEqual(['{"at":"desk"}', '{"at":"home"}'])
      two.map('presence').set('ada', { at: 'agreed' })
      await entry.getByText('agreed').waitFor()
      await entry.getByText('won against').waitFor({ state: 'detached' })
      await page.keyboard.press('Escape')
      await presence.waitFor({ state: 'detached' })

      await page.getByRole('button', { name: 'many' }).click()
      const many = page.getByRole('dialog', { name: 'Map many' })
      await many.locator('[data-key="key-149"]').waitFor()
      await many.getByRole('button', { name: 'Next keys' }).click()
      await many.locator('[data-key="visits"]').getByText('counter').waitFor()
      expect(await queryOf(page)).toEqual({ map: 'many', after: 'key-149' })
      await page.reload()
      await many.locator('[data-key="visits"]').waitFor()
    })
  })

  it('writes a new document, shows what a change would do before it is saved, and what the node has against it', async () => {
    await withPage(
      '#config',
      async (page) => {
        await page.getByText('skein config set KEY VALUE').waitFor()
        await page.getByLabel('Name of a new document').fill('limits')
        await page.keyboard.press('Enter')
        const value = page.getByLabel('Value of limits')
        await value.fill('{"perUser": 10,\n "perHost": }')
        await page.getByText('No JSON').waitFor()
        expect(await value.getAttribute('aria-invalid')).toBe('true')
        const review = page.getByRole('button', { name: 'Review and save' })
        expect(await review.isDisabled()).toBe(true)
        await value.fill('{"perUser": 10, "perHost": 50}')
        await review.click()
        const dialog = page.getByRole('dialog', { name: 'Save limits' })
        await dialog.getByText('It becomes version 1').waitFor()
        expect(two.config.get('limits')).toBeUndefined()
        await save(page, 'limits', 1)

        await value.fill('{"perUser": 20, "perHost": 50}')
        await page.getByLabel('Note').fill('launch')
        await page.locator('[data-document="limits"]').getByText('unsaved').waitFor()
        await review.click()
        await dialog.getByTestId('diff-count').filter({ hasText: '+1 −1' }).waitFor()
        expect(await dialog.locator('del').textContent()).toContain('"perUser": 10')
        expect(await dialog.locator('ins').textContent()).toContain('"perUser": 20')
        expect(two.config.get('limits')?.version).toBe(1)
        await save(page, 'limits', 2)
        await until(
          'the other node to have it',
          async () => two.config.get('limits')?.version === 2 || undefined,
        )
        expect(two.config.get('limits')).toMatchObject({ value: { perUser: 20 }, note: 'launch' })
        await page.locator('[data-version="2"]').getByText('launch').waitFor()

        await page.getByLabel('Name of a new document').fill('skein')
        await page.keyboard.press('Enter')
        await page.getByLabel('Value of skein').fill('{"strategy": "best", "log_levle": "info"}')
        await review.click()
        const refused = page.getByRole('dialog', { name: 'Save skein' })
        await refused.getByRole('button', { name: 'Save', exact: true }).click()
        await refused.getByRole('status').filter({ hasText: '(400)' }).waitFor()
        await refused.getByRole('button', { name: 'Close' }).click()
        const faults = page.getByRole('list', { name: 'What the node has against it' })
        await faults.getByText('value.strategy').waitFor()
        await faults.getByText('log_levle').waitFor()
        await page.getByRole('button', { name: 'Discard my changes' }).click()
      },
      /status of 400/,
    )
  })

  it('does not overwrite what others wrote meanwhile: 412 is shown, with what they changed, and the choice', async () => {
    await withPage(
      '?config=limits#config',
      async (page) => {
        const value = page.getByLabel('Value of limits')
        await value.fill('{"perUser": 30, "perHost": 50}')
        await page.getByRole('button', { name: 'Review and save' }).click()
        const dialog = page.getByRole('dialog', { name: 'Save limits' })
        await dialog.getByTestId('diff-count').waitFor()
        await two.config.set('limits', { perUser: 20, perHost: 99 }, { by: 'bob', note: 'faster' })
        await until(
          'the page’s node to know',
          async () => one.config.get('limits')?.version === 3 || undefined,
        )
        await dialog.getByRole('button', { name: 'Save', exact: true }).click()
        await dialog.getByRole('status').filter({ hasText: '(412)' }).waitFor()
        await dialog.getByRole('button', { name: 'Close' }).click()
        expect(one.config.get('limits')?.value).toEqual({ perUser: 20, perHost: 99 })

        const notice = page
          .getByRole('alert')
          .filter({ hasText: 'Version 3 came meanwhile, by bob (faster)' })
        await notice.waitFor()
        expect(JSON.parse(await value.inputValue())).toEqual({ perUser: 30, perHost: 50 })
        await notice.getByRole('button', { name: 'Show what it changed' }).click()
        expect(await notice.locator('ins').textContent()).toContain('"perHost": 99')
        await notice.getByRole('button', { name: 'Keep mine' }).click()
        await notice.waitFor({ state: 'detached' })
        await page.getByRole('button', { name: 'Review and save' }).click()
        await dialog.getByTestId('diff-count').filter({ hasText: '+2 −2' }).waitFor()
        await save(page, 'limits', 4)
      },
      /status of 412/,
    )
  })

  it('goes back to an earlier version after showing what that changes', async () => {
    await withPage('?config=limits#config', async (page) => {
      await page.getByRole('button', { name: 'Compare version 1' }).click()
      await page.getByTestId('diff-count').filter({ hasText: 'From version 1 to 4' }).waitFor()
      expect(await queryOf(page)).toEqual({ config: 'limits', version: '1' })
      await page.getByRole('button', { name: 'Roll back to version 1' }).click()
      const dialog = page.getByRole('dialog', { name: 'Roll limits back to version 1' })
      expect(await dialog.locator('ins').textContent()).toContain('"perUser": 10')
      expect(two.config.get('limits')?.version).toBe(4)
      await dialog.getByLabel('Note').fill('too much')
      await dialog.getByRole('button', { name: 'Roll back' }).click()
      await dialog
        .getByRole('status')
        .filter({ hasText: 'at version 5, with the value of version 1' })
        .waitFor()
      await dialog.getByRole('button', { name: 'Close' }).click()
      await until(
        'the other node to have it',
        async () => two.config.get('limits')?.version === 5 || undefined,
      )
      expect(two.config.get('limits')).toMatchObject({
        value: { perUser: 10, perHost: 50 },
        note: 'too much',
      })
      await page.getByRole('heading', { name: 'limits, version 5' }).waitFor()
      await page.waitForFunction<boolean>('document.querySelector("textarea").value.includes("10")')
    })
  })

  it('is readable in the dark and in the light look, and fits a narrow window', async () => {
    await withPage('?service=pricing&config=limits&version=4#services', async (page) => {
      const programs = [
        '.links a',
        '.opener',
        '.data thead th',
        '.data td.good',
        '.methods code',
        '[data-testid="map-conflicts"]',
      ]
      await page.locator('[data-instance="node-2"]').waitFor()
      await page.getByRole('link', { name: 'Maps' }).click()
      await page.getByTestId('map-conflicts').waitFor()
      await expectReadable(page, programs)
      await page.getByRole('link', { name: 'Configuration' }).click()
      await page.locator('.diff ins').waitFor()
      await expectReadable(page, ['.picked td', 'textarea', '.diff ins', '.diff del'])
    })
  })

  it('asks for nothing that is out of sight, and says so of what it cannot refresh', async () => {
    await withPage(
      '',
      async (page) => {
        await page.setViewportSize({ width: 1440, height: 500 })
        const asked: string[] = []
        page.on('request', (request) => asked.push(new URL(request.url()).pathname))
        await page.reload()
        await page.locator('[data-node="node-1"]').waitFor()
        await page.waitForResponse((response) => response.url().endsWith('/api/cluster/status'))
        expect(
          asked.filter((path) => /services|names|rooms|sessions|processors|maps|config/.test(path)),
        ).toEqual([])
        await page.getByRole('link', { name: 'Services' }).click()
        await page.locator('[data-service="pricing"]').waitFor()
        await page.route('**/api/services', (route) => route.abort())
        await page.getByTestId('services-stale').waitFor()
        await page.locator('[data-service="pricing"]').waitFor()
        await page.unroute('**/api/services')
        await page.getByTestId('services-stale').waitFor({ state: 'detached' })
      },
      busy,
    )
  })

  it('says how to begin where there is nothing yet, and offers a viewer nothing to do', async () => {
    await withPage(
      '#services',
      async (page) => {
        await page.getByLabel('Token').fill(secret)
        await page.keyboard.press('Enter')
        await page.getByText('No program offers a service yet').waitFor()
        await page.getByText('skein names ls').waitFor()
        await page.getByRole('link', { name: 'Rooms' }).click()
        await page.getByText('Nobody is in any room').waitFor()
        await page.getByText('No client is connected').waitFor()
        await page.getByRole('link', { name: 'Processors' }).click()
        await page.getByText('No node has a processor').waitFor()
        await page.getByRole('link', { name: 'Maps' }).click()
        await page.getByText('No map holds anything').waitFor()
        await page.getByRole('link', { name: 'Configuration' }).click()
        await page.getByText('skein config set KEY VALUE').waitFor()
        expect(await page.getByLabel('Name of a new document').count()).toBe(0)
        await page.goto(`http://${lonely.self.httpAddress}/?room=lobby`)
        const drawer = page.getByRole('dialog', { name: 'Room lobby' })
        await drawer.getByText('needs the role operator').waitFor()
        expect(await drawer.getByRole('textbox').count()).toBe(0)
      },
      /status of 401/,
      lonely,
    )
  })

  async function start(nodeId: string, more: Partial<NodeConfig> = {}): Promise<SkeinNode> {
    const node = await createNode({
      nodeId,
      // What lies beside a node's directory is its cluster's.
      dataDir: join(directory, nodeId === 'lonely' ? 'apart' : 'together', nodeId),
      port: 0,
      peerPort: 0,
      preset: 'local',
      shards: 8,
      threads: 'inline',
      http: true,
      roomHistory: ['kept/'],
      logLevel: 'silent',
      ...more,
    })
    running.push(node)
    return node
  }

  function withPage(
    rest: string,
    look: (page: Page) => Promise<void>,
    expected?: RegExp,
    of: SkeinNode = one,
  ): Promise<void> {
    return visit({ browser, site, url: `http://${of.self.httpAddress}/${rest}`, expected }, look)
  }
})

async function expectReadable(page: Page, texts: readonly string[]): Promise<void> {
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme })
    const contrasts = await page.locator(':root').evaluate(contrastsOf, texts)
    for (const { text, contrast } of contrasts)
      expect(contrast, `${text}, ${colorScheme}`).toBeGreaterThanOrEqual(4.5)
    expect(contrasts.length).toBe(texts.length)
  }
  await page.setViewportSize({ width: 360, height: 900 })
  const overflow = await page.locator('html').evaluate((html) => html.scrollWidth - html.clientWidth)
  expect(overflow).toBe(0)
  await page.setViewportSize({ width: 1440, height: 1030 })
}

async function save(page: Page, name: string, version: number): Promise<void> {
  const dialog = page.getByRole('dialog', { name: `Save ${name}` })
  await dialog.getByRole('button', { name: 'Save', exact: true }).click()
  await dialog
    .getByRole('status')
    .filter({ hasText: `${name} is at version ${version}` })
    .waitFor()
  await dialog.getByRole('button', { name: 'Close' }).click()
  await page.getByRole('heading', { name: `${name}, version ${version}` }).waitFor()
  // Not the button, which cannot be pressed again, nor the top of the page.
  await page.locator('#config textarea:focus').waitFor()
}

/** As the page has it now; what the driver knows of its address may be older. */
async function queryOf(page: Page): Promise<Record<string, string>> {
  return Object.fromEntries(new URLSearchParams(await page.evaluate<string>('location.search')))
}
