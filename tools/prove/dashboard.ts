// every page of the dashboard in a real browser on a real three-node cluster: driven, looked through by axe, photographed dark and light; nodes are killed under it
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Page } from 'playwright-core'
import { SkeinClient } from '../../dist/client/index.js'
import { createToken } from '../../dist/keys/tokens.js'
import { artifacts, hasBrowser, launchBrowser, seeMs, Watched } from './lib/browser.js'
import { json, ProcessCluster, type ProcessNode, publish, sleep, until, Verdict } from './lib/cluster.js'

/** `--short`: what the tests of single pages do not drive; no pictures, and axe in one look. */
const isShort = process.argv.includes('--short')
if (!hasBrowser) {
  console.log('SKIPPED: no Chromium here; set CHROMIUM to one')
  process.exit(0)
}

const verdict = new Verdict()
const cluster = new ProcessCluster([
  '--load',
  resolve(import.meta.dirname, 'lib/dashboard-module.mjs'),
  '--allow-exec',
  '--max-agents',
  '32',
])
await cluster.start(3)
const [one, two, three] = cluster.nodes as [ProcessNode, ProcessNode, ProcessNode]
const hosts = new Set(cluster.nodes.map(({ http }) => http))
for (let i = 1; i <= 6; i++) await send(one, '/api/agents', { name: `counter-${i}`, kind: 'counter' })
await send(one, '/api/agents', {
  name: 'ticker',
  command: 'sh',
  args: ['-c', 'n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.5; done'],
})
const clients = ['ada', 'bob'].map(
  (user) => new SkeinClient({ addresses: [one.http, two.http], discover: false, user }),
)
for (const client of clients) await client.join('lobby')
const load = startLoad()

const browser = await launchBrowser()
const watched = await Watched.open(browser, hosts, { width: 1440, height: 900 })
const { page } = watched

await step(
  'the cluster: nodes, leader, lines with round trips, who sees whom, curves against the bound',
  async () => {
    await page.goto(`http://${two.http}/`)
    for (const { id } of cluster.nodes) await page.locator(`[data-station="${id}"]`).waitFor()
    await page
      .getByTestId('leader')
      .filter({ hasText: /leader node-\d · term [1-9]/ })
      .waitFor()
    await page.locator('.link-text').nth(2).waitFor()
    await page.locator('.traffic').first().waitFor()
    await page.getByText('Every node sees every other one').waitFor()
    await page.locator('#skew-title').scrollIntoViewIfNeeded()
    await page.getByText(/allowed: ±\d+ ms/).waitFor()
    await page.getByText('Every node is online').waitFor()
    return `${await page.locator('[data-link]').count()} lines, ${await page.locator('.sight').count()} sights`
  },
)

await long('a node opens by keyboard, with evidence and curves, and the address keeps it', async () => {
  await page.locator('[data-station="node-1"]').focus()
  await page.keyboard.press('Enter')
  const drawer = page.getByRole('dialog', { name: 'Why is node-1' })
  await drawer.locator('.summary').waitFor()
  await drawer.getByRole('heading', { name: 'CPU and memory of its host' }).waitFor()
  await page.reload()
  await drawer.locator('.summary').waitFor()
  await page.keyboard.press('Escape')
  await drawer.waitFor({ state: 'detached' })
  return new URL(page.url()).search === '' ? 'closed again' : page.url()
})

await long('events: as they come, where a key lives, what is stored of it', async () => {
  await go('Events', '#tail')
  await page.getByTestId('tail-state').filter({ hasText: 'live' }).waitFor()
  await page.locator('#tail [data-event]').first().waitFor()
  await page.getByRole('button', { name: /orders \d+\/s/ }).waitFor()
  await page.getByLabel('Stream', { exact: true }).fill('orders')
  await page.getByLabel('Key', { exact: true }).fill('customer-3')
  await page.getByRole('button', { name: 'Look', exact: true }).click()
  const route = (await json(one.http, '/api/cluster/route?key=customer-3')) as {
    shard: number
    owner: string
  }
  await page
    .getByTestId('route')
    .filter({ hasText: `shard ${route.shard}, on ${route.owner}` })
    .waitFor()
  const stored = page.locator('#lookup [data-event]')
  await stored.first().waitFor()
  const keys = new Set(await page.locator('#lookup tbody th').allTextContents())
  if (keys.size !== 1 || !keys.has('customer-3')) throw new Error(`other keys: ${[...keys].join()}`)
  await page.getByRole('button', { name: 'Hold' }).click()
  await page.getByText(/[1-9]\d* came since/).waitFor()
  await page.getByRole('button', { name: 'Go on' }).click()
  const count = await stored.count()
  await page.getByRole('button', { name: 'All events' }).click()
  return `${count} of customer-3 on ${route.owner}`
})

await long('agents: logs of one, a move after its plan, another strategy after its preview', async () => {
  await go('Agents', '[data-agent="ticker"]')
  await page.locator('[data-agent="ticker"]').click()
  const drawer = page.getByRole('dialog', { name: 'ticker' })
  await drawer.getByRole('log').getByText('tick').first().waitFor()
  await page.keyboard.press('Escape')
  await drawer.waitFor({ state: 'detached' })
  const before = await agent('counter-1')
  await page.getByRole('grid', { name: 'Agents' }).focus()
  await page.keyboard.press('Home')
  await page.keyboard.press('m')
  const plan = page.getByRole('dialog', { name: 'Move counter-1' })
  const target = plan.getByRole('radio').first()
  await target.check()
  await plan.getByTestId('fitness').filter({ hasText: 'it could run there' }).waitFor()
  if ((await agent('counter-1')).node_id !== before.node_id) throw new Error('it moved before the yes')
  await plan.getByRole('button', { name: 'Move it' }).click()
  await plan.getByRole('status').filter({ hasText: 'under epoch' }).waitFor()
  const after = await agent('counter-1')
  await plan.getByRole('button', { name: 'Close' }).click()
  await page.getByLabel('Strategy').selectOption('binpack')
  const preview = page.getByRole('region', { name: 'Preview of binpack' })
  await preview.getByText('nothing is changed yet').waitFor()
  await picture('strategy-preview')
  await page.getByRole('button', { name: 'Use binpack' }).click()
  await page.getByTestId('strategy').filter({ hasText: 'binpack' }).waitFor()
  await page.getByLabel('Strategy').selectOption('least_loaded')
  await page.getByRole('button', { name: 'Use least_loaded' }).click()
  await page.getByTestId('strategy').filter({ hasText: 'least_loaded' }).waitFor()
  return `counter-1 from ${before.node_id} to ${after.node_id}`
})

await long('a drain after its plan, with progress, and back', async () => {
  await go('Cluster', '[data-node="node-3"]')
  await page.getByRole('button', { name: 'Drain node-3' }).click()
  const plan = page.getByRole('dialog', { name: 'Drain node-3' })
  await plan.getByTestId('drain-plan').waitFor()
  await picture('drain-plan', false)
  await plan.getByRole('button', { name: 'Drain' }).click()
  await plan.getByRole('status').filter({ hasText: 'has begun' }).waitFor()
  await page.keyboard.press('Escape')
  const drain = page.locator('[data-drain="node-3"]')
  await drain.getByText('Drained').waitFor()
  await page.locator('[data-verdict="node-3"]').waitFor()
  await picture('drained')
  await drain.getByRole('button', { name: 'Give work again' }).click()
  await page.locator('[data-node="node-3"]').getByText('online').waitFor()
  await until(() => cluster.isWhole(), 60_000, 'the cluster to be whole')
  return 'empty, then given work again'
})

await long('the configuration: what a change does is shown before, and so is the way back', async () => {
  await go('Configuration', '#config')
  await page.getByLabel('Name of a new document').fill('limits')
  await page.keyboard.press('Enter')
  for (const [text, version] of [
    ['{"perUser": 10}', 1],
    ['{"perUser": 20}', 2],
  ] as const) {
    await page.getByLabel('Value of limits').fill(text)
    await page.getByRole('button', { name: 'Review and save' }).click()
    const plan = page.getByRole('dialog', { name: 'Save limits' })
    await plan.getByRole('button', { name: 'Save', exact: true }).click()
    await plan
      .getByRole('status')
      .filter({ hasText: `version ${version}` })
      .waitFor()
    await plan.getByRole('button', { name: 'Close' }).click()
  }
  await page.getByRole('button', { name: 'Compare version 1' }).click()
  await page.getByRole('button', { name: 'Roll back to version 1' }).click()
  const back = page.getByRole('dialog', { name: 'Roll limits back to version 1' })
  await back.locator('ins').waitFor()
  await back.getByRole('button', { name: 'Roll back' }).click()
  await back.getByRole('status').filter({ hasText: 'version 3' }).waitFor()
  await back.getByRole('button', { name: 'Close' }).click()
  return 'three versions'
})

await long('services, names, rooms, sessions, processors, maps', async () => {
  await go('Services', '[data-service="pricing"]')
  await page.locator('[data-name="scheduler"]').waitFor()
  await page.locator('[data-room="lobby"]').waitFor()
  await page.getByRole('table', { name: 'Sessions' }).getByText('ada').waitFor()
  await page.getByRole('link', { name: 'Processors' }).click()
  await page.locator('[data-processor="square"]').waitFor()
  await page.getByRole('link', { name: 'Maps' }).click()
  await page.getByRole('button', { name: 'presence' }).waitFor()
  return 'all there'
})

await long('who did what', async () => {
  await go('Audit', '#audit')
  const row = page.locator('#audit tbody tr').filter({ hasText: '/api/cluster/nodes/node-3/drain' })
  await row.first().waitFor()
  await page.getByLabel('Text in the audit log').fill('config')
  await page.locator('#audit tbody tr').filter({ hasText: 'drain' }).first().waitFor({ state: 'detached' })
  const count = await page.locator('#audit tbody tr').count()
  await page.getByLabel('Text in the audit log').fill('')
  return `${count} about the configuration`
})

await step('the leadership is taken after a plan, and given up after another', async () => {
  const drawer = page.getByRole('dialog', { name: 'Why is node-2' })
  const act = async (button: string, title: string, verb: string, said: RegExp): Promise<void> => {
    await page.goto(`http://${two.http}/?why=node-2`)
    await drawer.getByRole('button', { name: button }).click()
    const plan = page.getByRole('dialog', { name: title })
    await plan.getByText('in a new term').waitFor()
    await plan.getByRole('button', { name: verb, exact: true }).click()
    await plan.getByRole('status').filter({ hasText: said }).waitFor()
  }
  const before = await leader()
  if (before === 'node-2')
    await act('Step down', 'Step down on node-2', 'Step down', /node-2 gave the leadership up/)
  await act('Lead from here', 'Lead from node-2', 'Lead', /node-2 leads, in term \d+/)
  await until(async () => (await leader()) === 'node-2', seeMs, 'node-1 to know that node-2 leads')
  await act('Step down', 'Step down on node-2', 'Step down', /node-2 gave the leadership up/)
  await page.goto(`http://${two.http}/`)
  return `${before}, then node-2, then ${await leader()}`
})

const findings: string[] = []
for (const colorScheme of isShort ? (['dark'] as const) : (['dark', 'light'] as const)) {
  await page.emulateMedia({ colorScheme })
  for (const name of ['Cluster', 'Agents', 'Events', 'Services', 'Configuration', 'Audit']) {
    await go(name, 'main .panel')
    await page.waitForLoadState('load')
    await settle()
    for (const { rule, where } of await watched.audit())
      findings.push(`${name}, ${colorScheme}: ${rule} at ${where}`)
    if (!isShort) await pictures(name.toLowerCase(), colorScheme)
  }
  await page.goto(`http://${two.http}/?why=node-1`)
  await page.getByRole('dialog').locator('.summary').waitFor()
  for (const { rule, where } of await watched.audit())
    findings.push(`a node, ${colorScheme}: ${rule} at ${where}`)
  if (!isShort) await pictures('node', colorScheme)
  await page.goto(`http://${two.http}/`)
}
await page.emulateMedia({ colorScheme: 'dark' })

await step('a killed node: the page says why by itself, and the past can be seen again', async () => {
  await go('Cluster', '[data-node="node-3"]')
  await page.locator('[data-station="node-3"]').filter({ hasText: 'online' }).waitFor()
  await three.kill()
  const seenMs = await until(
    async () => (await page.locator('[data-verdict="node-3"] .detail').count()) > 0,
    seeMs,
    'the evidence on the page',
  )
  await page.locator('[data-station="node-3"]').filter({ hasText: 'offline' }).waitFor()
  await page.locator('.link.broken').first().waitFor()
  await page.getByRole('list', { name: 'Who does not see whom' }).getByText('node-3').first().waitFor()
  for (const { rule, where } of await watched.audit()) findings.push(`a node is down: ${rule} at ${where}`)
  await pictures('killed', 'dark')
  const reason = await page.locator('[data-verdict="node-3"] .summary').textContent()
  const owned = (): Promise<string | null> =>
    page.locator('[data-node="node-3"] [data-label="Shards"]').textContent()
  await until(async () => (await owned())?.trim() === '0', seeMs, 'the shards of node-3 to be elsewhere')
  await page.getByRole('button', { name: 'Event before' }).click()
  await page.getByLabel('Moment that is looked at').focus()
  const isBack = async (): Promise<boolean> =>
    (await page.locator('[data-station="node-3"]').textContent())?.includes('online') === true
  for (let i = 0; i < 10 && !(await isBack()); i++) await page.keyboard.press('ArrowLeft')
  await page.getByTestId('replay').waitFor()
  await page.locator('[data-station="node-3"]').filter({ hasText: 'online' }).waitFor()
  const then = (await owned())?.trim()
  if (then === '0') throw new Error('the replay does not know the shards of node-3')
  await pictures('replay', 'dark')
  await page.reload()
  await page.getByTestId('replay').waitFor()
  await page.getByTestId('replay').getByRole('button', { name: 'Back to live' }).click()
  await page.locator('[data-station="node-3"]').filter({ hasText: 'offline' }).waitFor()
  if (!isShort) {
    await page.goto(`http://${two.http}/?why=node-3`)
    await page.getByRole('button', { name: 'Remove…' }).click()
    const plan = page.getByRole('dialog', { name: 'Remove node-3' })
    await plan.getByRole('button', { name: 'Remove', exact: true }).click()
    await plan.getByRole('status').filter({ hasText: 'node-3 is removed' }).waitFor()
    await page.goto(`http://${two.http}/`)
    await page.locator('[data-station="node-2"]').waitFor()
    await page.locator('[data-station="node-3"]').waitFor({ state: 'detached' })
    await three.start()
    await page.locator('[data-station="node-3"]').filter({ hasText: 'online' }).waitFor()
    await until(() => cluster.isWhole(), 60_000, 'the cluster to be whole')
  }
  return `evidence on the page ${seenMs.toFixed(0)} ms after the kill: "${reason}"; ${then} shards in the replay`
})

for (const finding of findings.slice(0, 20)) console.log(`       ${finding}`)
verdict.check('axe has nothing serious to say', findings.length === 0, `${findings.length} findings`)

await step(
  'the node that serves the page is killed: it goes on at another, with all that it showed',
  async () => {
    await page.goto(`http://${one.http}/?nodes=node&order=-cpu#timeline`)
    await page.locator('[data-node="node-1"]').waitFor()
    await page.getByTestId('live').filter({ hasText: 'live' }).waitFor()
    watched.expected = /Failed to load resource|ERR_CONNECTION|WebSocket/
    await one.kill()
    await page.waitForURL((url) => url.host !== one.http)
    watched.expected = null
    await page.getByRole('log', { name: 'Outcomes' }).getByText('node-1 did not answer any more').waitFor()
    await page.locator('[data-node="node-1"]').getByText('offline').waitFor()
    const { host, search, hash } = new URL(page.url())
    if (search !== '?nodes=node&order=-cpu' || hash !== '#timeline')
      throw new Error(`it shows ${search}${hash}`)
    if (!isShort) await one.start()
    return `now at ${host}`
  },
)

await long('a token is asked for, and lets in', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-prove-tokens-'))
  const tokenFile = join(directory, 'tokens')
  const secret = createToken(tokenFile, 'viewer', 'grace')
  const guarded = new ProcessCluster(['--token-file', tokenFile])
  const node = await guarded.add()
  hosts.add(node.http)
  watched.expected = /status of 401/
  await page.goto(`http://${node.http}/`)
  await page.getByLabel('Token').fill(secret)
  await page.keyboard.press('Enter')
  await page.getByTestId('who').filter({ hasText: 'grace (viewer)' }).waitFor()
  await page.locator('[data-node="node-1"]').waitFor()
  watched.expected = null
  const actions = await page.getByRole('button', { name: 'Drain' }).count()
  guarded.end()
  rmSync(directory, { recursive: true, force: true })
  if (actions > 0) throw new Error('a viewer is offered to drain')
  return 'as grace, a viewer'
})

verdict.check(
  'no complaint on the console',
  watched.complaints.length === 0,
  watched.complaints.join(' | ') || 'none',
)
verdict.check(
  'no request to anybody else',
  watched.strangers.length === 0,
  watched.strangers.join(' ') || 'none',
)
if (!isShort) console.log(`     pictures: ${artifacts('dashboard')}`)
load.stop()
for (const client of clients) client.close()
await browser.close()
verdict.end()

/** A step that tests of that page take as well. */
async function long(what: string, act: () => Promise<string>): Promise<void> {
  if (!isShort) await step(what, act)
}

async function step(what: string, act: () => Promise<string>): Promise<void> {
  const startMs = performance.now()
  try {
    const figure = await act()
    console.log(`ok   ${what}: ${figure} (${((performance.now() - startMs) / 1_000).toFixed(1)} s)`)
  } catch (error) {
    verdict.check(what, false, error instanceof Error ? error.message : String(error))
    await page.screenshot({
      path: join(artifacts('dashboard'), `failed-${what.slice(0, 20).replaceAll(/\W+/g, '-')}.png`),
    })
    await page.goto(`http://${two.http}/`).catch(() => undefined)
  }
}

async function go(name: string, awaited: string): Promise<void> {
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name, exact: true }).click()
  await page.locator(awaited).first().waitFor()
}

/** Until nothing on the page says that it is still asking. */
async function settle(): Promise<void> {
  const isAsking = `[...document.querySelectorAll('main .empty')].some((e) => e.textContent.startsWith('Asking'))`
  await until(async () => !(await page.evaluate<boolean>(isAsking)), seeMs, 'all panels to be there')
  await sleep(300)
}

async function picture(name: string, isWhole = true): Promise<void> {
  if (!isShort)
    await page.screenshot({ path: join(artifacts('dashboard'), `${name}.png`), fullPage: isWhole })
}

async function pictures(name: string, colorScheme: string): Promise<void> {
  if (isShort) return
  await shoot(page, `${name}-${colorScheme}`)
  await page.setViewportSize({ width: 390, height: 844 })
  await sleep(300)
  await shoot(page, `${name}-${colorScheme}-narrow`)
  await page.setViewportSize({ width: 1440, height: 900 })
}

/** As high as the page is, so that what is asked for when in sight is there. */
async function shoot(of: Page, name: string): Promise<void> {
  await of.evaluate('scrollTo(0, 0)')
  const before = of.viewportSize() ?? { width: 1440, height: 900 }
  const height = Math.min(4_000, await of.evaluate<number>('document.documentElement.scrollHeight'))
  await of.setViewportSize({ width: before.width, height: Math.max(before.height, height) })
  await settle()
  await of.screenshot({ path: join(artifacts('dashboard'), `${name}.png`) })
  await of.setViewportSize(before)
}

async function send(via: ProcessNode, path: string, body: unknown): Promise<void> {
  const response = await fetch(`http://${via.http}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
}

async function agent(name: string): Promise<{ node_id: string | null }> {
  return (await json(two.http, `/api/agents/${name}`)) as { node_id: string | null }
}

async function leader(): Promise<string> {
  let known = ''
  await until(
    async () => {
      const status = (await json(one.http, '/api/cluster/status')) as { leader_id: string | null }
      known = status.leader_id ?? ''
      return known !== ''
    },
    seeMs,
    'a leader',
  )
  return known
}

/** Some events all the time, through whoever is there. */
function startLoad(): { stop: () => void } {
  let isOver = false
  const run = async (): Promise<void> => {
    for (let n = 0; !isOver; n++) {
      const via = cluster.nodes[n % 3] as ProcessNode
      const events = Array.from({ length: 20 }, (_, i) => ({
        stream: i % 4 === 0 ? 'payments' : 'orders',
        key: `customer-${(n + i) % 50}`,
        type: 'placed',
        payload: { n, amount: (n * 7 + i) % 100 },
      }))
      // A node that was killed takes none: the next one does.
      await publish(via.http, events).catch(() => undefined)
      await sleep(100)
    }
  }
  void run()
  return {
    stop: () => {
      isOver = true
    },
  }
}
