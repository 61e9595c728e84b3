/**
 * Agents in the dashboard: a real browser on one of three real nodes. What is done on the page is checked against what another node answers, and
 * nothing that disturbs an agent happens before its plan was shown.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AgentJson } from '../../src/http/agent-contract.js'
import type { NodeJson, OperationJson } from '../../src/http/contract.js'
import { Build, getJson, type RealNode, RealNodes, until } from '../runtime/real-node.js'
import { contrastsOf } from './contrast.js'
import { buildSite, hasBrowser, launch, seeDeadlineMs, startDeadlineMs, visit } from './site.js'

const maxAgents = 40
const counters = ['c-1', 'c-2', 'c-3', 'c-4', 'c-5', 'c-6']
const testDeadlineMs = 90_000
/** Some more than a screen, some fewer than a node would hold: how many rows the page is given at once. */
const manyRows = 10_000

describe.skipIf(!hasBrowser)('agents in the dashboard of a cluster', () => {
  let directory: string
  let site: string
  let browser: Browser | undefined
  let build: Build
  const cluster = new RealNodes()
  const nodes: RealNode[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-dashboard-'))
    site = await buildSite(directory)
    build = new Build()
    const module = join(build.directory, 'counter.mjs')
    await writeFile(
      module,
      `import { defineAgent } from './dist/index.js'
       export const counter = defineAgent('counter', { state: { n: 0 }, on: { add: (ctx, by) => (ctx.state.n += by) } })`,
    )
    // By hand, so that what the tests move stays where they moved it.
    const options = [
      '--allow-exec',
      '--max-agents',
      String(maxAgents),
      '--load',
      module,
      '--rebalance',
      'manual',
    ]
    // The first is given the shards, and keeps them: the drain of node-2 has some to move.
    const second = await cluster.start(build, 'node-2', options)
    const others = ['node-1', 'node-3'].map((id) =>
      cluster.start(build, id, [...options, '--peer', second.peer]),
    )
    const [first, third] = (await Promise.all(others)) as [RealNode, RealNode]
    nodes.push(first, second, third)
    await until('three nodes online', async () => {
      const { nodes: seen } = await getJson<{ nodes: NodeJson[] }>(`${at(0)}/api/cluster/nodes`)
      return seen.filter(({ status }) => status === 'online').length === 3 ? true : undefined
    })
    await create({
      name: 'ticker',
      command: 'sh',
      args: ['-c', 'n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done'],
    })
    await create({ name: 'pinned', command: 'sleep', args: ['100000'], constraints: { nodes: ['node-2'] } })
    for (const name of counters) await create({ name, kind: 'counter' })
    await until('all of them to run', async () => {
      const running = (await listed()).filter(({ status }) => status === 'running')
      return running.length === counters.length + 2 ? true : undefined
    })
    browser = await launch()
  }, startDeadlineMs)

  afterAll(async () => {
    await browser?.close()
    await cluster.close()
    build.remove()
    await rm(directory, { recursive: true, force: true })
  }, startDeadlineMs)

  it(
    'shows all agents and each node’s places, and keeps filters and order in the address',
    async () => {
      await withPage('#agents', async (page) => {
        const agents = await listed()
        await row(page, 'ticker').getByText('running').waitFor()
        for (const { name, node_id, kind } of agents) {
          await row(page, name).getByText('running').waitFor()
          expect(await row(page, name).textContent()).toContain(`${kind}`)
          expect(await row(page, name).textContent()).toContain(node_id ?? 'on a node')
        }
        await page.locator('[data-tile="node-2"]').getByText(`/${maxAgents}`).waitFor()
        await until('as many places in use as there are agents', async () => {
          const places = await page.locator('[data-tile] .tile-state').allTextContents()
          const used = places.reduce((sum, text) => sum + Number(/(\d+)\//.exec(text)?.[1]), 0)
          return used === agents.length ? true : undefined
        })

        await page.getByLabel('Text in the agents').fill('c-')
        await page
          .getByTestId('agents-count')
          .filter({ hasText: `6 of ${agents.length}` })
          .waitFor()
        await page.getByLabel('Kind', { exact: true }).selectOption('counter')
        await page.getByLabel('Node', { exact: true }).selectOption('node-2')
        await page.getByLabel('Status', { exact: true }).selectOption('running')
        const on2 = agents.filter(({ node_id, kind }) => node_id === 'node-2' && kind === 'counter')
        await page
          .getByTestId('agents-count')
          .filter({ hasText: `${on2.length} of` })
          .waitFor()
        await page.getByRole('button', { name: 'Name' }).click()
        expect(await page.getByRole('columnheader', { name: 'Name' }).getAttribute('aria-sort')).toBe(
          'descending',
        )
        const query = await queryOf(page)
        expect(Object.fromEntries(query)).toEqual({
          text: 'c-',
          kind: 'counter',
          node: 'node-2',
          status: 'running',
          sort: '-name',
        })
        await page.reload()
        await page
          .getByTestId('agents-count')
          .filter({ hasText: `${on2.length} of` })
          .waitFor()
        await page.getByRole('button', { name: 'Show all' }).click()
        await page
          .getByTestId('agents-count')
          .filter({ hasText: new RegExp(`^${agents.length}$`) })
          .waitFor()
        expect(await page.locator('[data-agent]').first().getAttribute('data-agent')).toBe('ticker')
      })
    },
    testDeadlineMs,
  )

  it(
    'opens an agent by keyboard with its facts, reasons for and against every node, and its output as it comes',
    async () => {
      await withPage('?sort=-name#agents', async (page) => {
        await row(page, 'ticker').waitFor()
        await page.getByRole('grid', { name: 'Agents' }).focus()
        await page.keyboard.press('Enter')
        const drawer = page.getByRole('dialog', { name: 'ticker' })
        await drawer.getByText('sh -c').waitFor()
        expect((await queryOf(page)).get('agent')).toBe('ticker')
        const home = (await shown('ticker')).node_id ?? ''
        await drawer.getByText(`Why on ${home}`).waitFor()
        expect(await drawer.locator('[data-candidate]').count()).toBe(3)
        expect(await drawer.locator(`[data-candidate="${home}"]`).textContent()).toContain('here')
        const output = drawer.getByRole('log')
        const last = () => output.locator('div').last().textContent()
        await output.getByText('tick').first().waitFor()
        await drawer.getByRole('button', { name: 'Pause output' }).click()
        await drawer.getByText(/paused, [1-9]\d* new lines wait/).waitFor()
        const heldAt = await last()
        await drawer.getByText(/paused, ([5-9]|\d\d+) new lines wait/).waitFor()
        expect(await last()).toBe(heldAt)
        await drawer.getByRole('button', { name: 'Go on' }).click()
        await until('newer output', async () => ((await last()) === heldAt ? undefined : true))
        await page.keyboard.press('Escape')
        await drawer.waitFor({ state: 'detached' })
        // The dialog is gone before the page hears of it.
        await until('the address', async () =>
          (await queryOf(page)).get('agent') === null ? true : undefined,
        )
        const focused = () =>
          page
            .locator(':root')
            .evaluate((root) => root.ownerDocument.activeElement?.getAttribute('role') ?? '')
        await until('the focus to be back', async () => ((await focused()) === 'grid' ? true : undefined))

        await page.goto(`${at(0)}/?agent=pinned`)
        const pinned = page.getByRole('dialog', { name: 'pinned' }).locator('[data-candidate="node-1"]')
        await pinned.getByText('its name is "node-1", wanted "node-2"').waitFor()
      })
    },
    testDeadlineMs,
  )

  it(
    'moves an agent by keyboard alone, after its plan',
    async () => {
      const from = await shown('c-1')
      await withPage('?text=c-1#agents', async (page) => {
        await row(page, 'c-1').getByText('running').waitFor()
        await page.getByRole('grid').focus()
        await page.keyboard.press('m')
        const dialog = page.getByRole('dialog', { name: 'Move c-1' })
        const first = dialog.getByRole('radio').first()
        await first.waitFor()
        expect(await dialog.getByRole('button', { name: 'Move it' }).isDisabled()).toBe(true)
        await until('the focus in the dialog', async () =>
          (await dialog.evaluate((element) => element.contains(element.ownerDocument.activeElement)))
            ? true
            : undefined,
        )
        await tabTo(page, first)
        await page.keyboard.press('Space')
        const to = await first.getAttribute('value')
        await dialog
          .getByTestId('fitness')
          .filter({ hasText: `${to}: it could run there` })
          .waitFor()
        await dialog.getByText(`its state is handed to ${to}`).waitFor()
        expect((await shown('c-1')).node_id).toBe(from.node_id)
        await tabTo(page, dialog.getByRole('button', { name: 'Move it' }))
        await page.keyboard.press('Enter')
        await dialog
          .getByRole('status')
          .filter({ hasText: `on ${to}, under epoch ${from.epoch + 1}` })
          .waitFor()
        await until('the other node to know', async () => {
          const { node_id, placed_by, epoch } = await shown('c-1')
          return node_id === to && placed_by === 'migrate' && epoch === from.epoch + 1 ? true : undefined
        })
        expect(
          await dialog
            .getByRole('button', { name: 'Close' })
            .evaluate((e) => e === e.ownerDocument.activeElement),
        ).toBe(true)
        await page.keyboard.press('Enter')
        await place(page, 'c-1', to ?? '').waitFor()
        await page.getByRole('log', { name: 'Outcomes' }).getByText(`on ${to}`).waitFor()
      })
    },
    testDeadlineMs,
  )

  it(
    'moves an agent that is dragged onto a node, after its plan, and says why another cannot go there',
    async () => {
      const from = await shown('ticker')
      const to = ['node-1', 'node-2', 'node-3'].find((id) => id !== from.node_id) as string
      await withPage('#agents', async (page) => {
        await row(page, 'ticker').getByText('running').waitFor()
        await row(page, 'ticker').dragTo(page.locator(`[data-tile="${to}"]`))
        const dialog = page.getByRole('dialog', { name: 'Move ticker' })
        await dialog.getByText(`is stopped on ${from.node_id} and started anew on ${to}`).waitFor()
        expect((await shown('ticker')).node_id).toBe(from.node_id)
        await dialog.getByRole('button', { name: 'Move it' }).click()
        await dialog
          .getByRole('status')
          .filter({ hasText: `on ${to}` })
          .waitFor()
        await dialog.getByRole('button', { name: 'Close' }).click()
        await until('a new process there', async () => {
          const now = await shown('ticker')
          return now.node_id === to && now.pid !== from.pid && now.status === 'running' ? now : undefined
        })

        // Onto what appears at the edge of the page while something is dragged.
        await row(page, 'pinned').hover()
        await page.mouse.down()
        await page.mouse.move(300, 500, { steps: 4 })
        const target = page.locator('[data-drop="node-3"]')
        await target.getByText('its name is "node-3"').waitFor()
        await target.hover()
        await target.hover()
        await page.mouse.up()
        const refused = page.getByRole('dialog', { name: 'Move pinned' })
        await refused.getByTestId('fitness').filter({ hasText: 'wanted "node-2"' }).waitFor()
        expect(await refused.getByRole('button', { name: 'Move it' }).isDisabled()).toBe(true)
        await refused.getByRole('button', { name: 'Cancel' }).click()
        await page.locator('[data-drop]').first().waitFor({ state: 'detached' })
      })
    },
    testDeadlineMs,
  )

  it(
    'pauses, resumes, restarts and stops an agent; what disturbs it only after its plan',
    async () => {
      await create({ name: 'worker', command: 'sleep', args: ['100000'] })
      const { pid } = await until('its process', async () => positive(await shown('worker')))
      await withPage(
        '?agent=worker#agents',
        async (page) => {
          const drawer = page.getByRole('dialog', { name: 'worker', exact: true })
          const act = async (button: string, plan: RegExp, verb: string): Promise<void> => {
            await drawer.getByRole('button', { name: button }).click()
            const dialog = page.getByRole('dialog', { name: `${verb}: worker` })
            await dialog.getByText(plan).waitFor()
            await dialog.getByRole('button', { name: verb }).click()
            await dialog.getByRole('status').filter({ hasText: 'worker' }).waitFor()
            await dialog.getByRole('button', { name: 'Close' }).click()
          }
          await act('Pause…', new RegExp(`Process ${pid} is halted`), 'Pause')
          await drawer.getByText('paused').waitFor()
          await until('the other node to know', async () =>
            (await shown('worker')).status === 'paused' ? true : undefined,
          )
          await drawer.getByRole('button', { name: 'Resume' }).click()
          await drawer.getByText('running').waitFor()
          expect((await shown('worker')).pid).toBe(pid)
          await act('Restart…', new RegExp(`Process ${pid} is ended and started anew`), 'Restart')
          await until('another process', async () => {
            const now = await shown('worker')
            return now.pid > 0 && now.pid !== pid ? now : undefined
          })
          await act('Stop…', /Its state and its place are forgotten/, 'Stop for good')
          await until('the other node to know', async () =>
            (await listed()).every(({ name }) => name !== 'worker') ? true : undefined,
          )
          await drawer.getByRole('alert').filter({ hasText: 'worker' }).waitFor()
          await drawer.getByRole('button', { name: 'Close' }).click()
          await page.getByTestId('agents-count').filter({ hasText: /^8$/ }).waitFor()
          // Asked for once more when it is gone.
        },
        /status of 404/,
      )
    },
    testDeadlineMs,
  )

  it(
    'previews a strategy before it is chosen, and rebalances after the moves were shown',
    async () => {
      await withPage('#agents', async (page) => {
        await page.getByTestId('strategy').filter({ hasText: 'least_loaded' }).waitFor()
        const before = await listed()
        await page.getByLabel('Strategy').selectOption('binpack')
        const preview = page.getByRole('region', { name: 'Preview of binpack' })
        await preview.getByText('nothing is changed yet').waitFor()
        await preview.locator('[data-move]').first().waitFor()
        expect(await strategy()).toBe('least_loaded')
        await page.getByRole('button', { name: 'Use binpack' }).click()
        await page.getByTestId('strategy').filter({ hasText: 'binpack' }).waitFor()
        await until('the other node to know', async () =>
          (await strategy()) === 'binpack' ? true : undefined,
        )
        expect((await listed()).map(({ node_id }) => node_id)).toEqual(before.map(({ node_id }) => node_id))

        await page.getByRole('button', { name: 'Rebalance' }).click()
        const dialog = page.getByRole('dialog', { name: 'Rebalance as binpack' })
        await dialog.locator('[data-move]').first().waitFor()
        const moves = await dialog.locator('[data-move]').allTextContents()
        await dialog.getByRole('button', { name: /^Move \d+$/ }).click()
        await dialog.getByRole('status').filter({ hasText: 'asked for' }).waitFor()
        await dialog.getByRole('button', { name: 'Close' }).click()
        const first = /^(\S+) (node-\d) → (node-\d)/.exec(moves[0] ?? '') as RegExpExecArray
        await until('the first move', async () =>
          (await shown(first[1] as string)).node_id === first[3] ? true : undefined,
        )
        await place(page, first[1] as string, first[3] as string).waitFor()
        await page.getByLabel('Strategy').selectOption('least_loaded')
        await page.getByRole('button', { name: 'Use least_loaded' }).click()
        await page.getByTestId('strategy').filter({ hasText: 'least_loaded' }).waitFor()
      })
    },
    testDeadlineMs,
  )

  it(
    'cordons a node, drains it after a plan with progress and what it waits for, and cancels',
    async () => {
      await withPage('', async (page) => {
        const node2 = page.locator('[data-node="node-2"]')
        await page.getByRole('button', { name: 'Cordon node-2' }).click()
        await node2.getByText('cordoned').waitFor()
        await page.getByRole('button', { name: 'Uncordon node-2' }).click()
        await page.getByRole('button', { name: 'Cordon node-2' }).waitFor()

        await page.getByRole('button', { name: 'Drain node-2' }).click()
        const dialog = page.getByRole('dialog', { name: 'Drain node-2' })
        await dialog
          .getByTestId('drain-plan')
          .filter({ hasText: /\d+ shards and \d+ agents? would move/ })
          .waitFor()
        await dialog.getByText('1 agent could go nowhere').waitFor()
        expect((await operations()).filter(({ kind }) => kind === 'drain')).toEqual([])
        await dialog.getByRole('button', { name: 'Drain' }).click()
        await dialog.getByRole('status').filter({ hasText: 'has begun' }).waitFor()
        await page.keyboard.press('Escape')
        const drain = page.locator('[data-drain="node-2"]')
        await drain.getByText('waits for pinned').waitFor()
        await until('all but one moved', async () => {
          const bar = drain.getByRole('progressbar', { name: 'Drain of node-2' })
          const { value, max } = await bar.evaluate((e) => ({ value: e.value, max: e.max }))
          return max > 256 && value === max - 1 ? true : undefined
        })
        await drain.getByRole('button', { name: 'Cancel drain' }).click()
        await drain.waitFor({ state: 'detached' })
        await node2.getByText('online').waitFor()

        const gone = await fetch(`${at(1)}/api/agents/pinned`, { method: 'DELETE' })
        expect(gone.status).toBe(200)
        await page.getByRole('button', { name: 'Drain node-2' }).click()
        await dialog.getByTestId('drain-plan').waitFor()
        await dialog.getByRole('button', { name: 'Drain' }).click()
        await page.getByRole('log', { name: 'Outcomes' }).getByText('node-2 is drained').waitFor()
        await page.keyboard.press('Escape')
        await drain.getByText('Drained').waitFor()
        await node2.getByText(`0/${maxAgents}`).waitFor()
        await until('the other node to know', async () =>
          (await listed()).every(({ node_id }) => node_id !== 'node-2') ? true : undefined,
        )
        await drain.getByRole('button', { name: 'Give work again' }).click()
        await node2.getByText('online').waitFor()
      })
    },
    testDeadlineMs,
  )

  it(
    'says that the agents are stale while they cannot be read, and is fresh again by itself',
    async () => {
      await withPage(
        '#agents',
        async (page) => {
          await row(page, 'ticker').waitFor()
          await page.route('**/api/agents*', (route) => route.abort())
          await page.getByTestId('agents-stale').waitFor()
          await page.unroute('**/api/agents*')
          await page.getByTestId('agents-stale').waitFor({ state: 'detached' })
        },
        /Failed to load resource/,
      )
    },
    testDeadlineMs,
  )

  it(
    'draws a few of ten thousand rows, and finds, sorts and walks them without freezing',
    async () => {
      const sample = await shown('c-1')
      const many = Array.from({ length: manyRows }, (_, i) => ({
        ...sample,
        name: `many-${i}`,
        restarts: i % 97,
      }))
      const body = JSON.stringify({ agents: many, count: manyRows, total: manyRows })
      await withPage('?text=c-1#agents', async (page) => {
        await row(page, 'c-1').waitFor()
        await page.route('**/api/agents?*', (route) =>
          route.fulfill({ contentType: 'application/json', body }),
        )
        await page.getByTestId('agents-count').filter({ hasText: '0 of 10,000' }).waitFor()
        // Time on the CPU, not by the clock: other work of the machine does not count.
        const session = await page.context().newCDPSession(page)
        await session.send('Performance.enable', { timeDomain: 'threadTicks' })
        const busyMs = async (): Promise<number> => {
          const { metrics } = await session.send('Performance.getMetrics')
          return 1_000 * (metrics.find(({ name }) => name === 'TaskDuration')?.value ?? Number.NaN)
        }
        const beforeMs = await busyMs()
        await page.getByLabel('Text in the agents').fill('many-777')
        await page.getByTestId('agents-count').filter({ hasText: '11 of' }).waitFor()
        await page.getByLabel('Text in the agents').fill('')
        await page
          .getByTestId('agents-count')
          .filter({ hasText: /^10,000/ })
          .waitFor()
        await page.getByRole('button', { name: 'Restarts' }).click()
        await page.getByRole('button', { name: 'Restarts' }).click()
        await page.getByRole('grid').focus()
        await page.keyboard.press('End')
        await row(page, 'many-9991').waitFor()
        await page.keyboard.press('PageUp')
        const spentMs = (await busyMs()) - beforeMs
        expect(await page.locator('[data-agent]').count()).toBeLessThan(40)
        const active = await page.getByRole('grid').getAttribute('aria-activedescendant')
        expect(active).toBe(`agent-${manyRows - 1 - 12}`)
        expect(await page.locator(`#${active}`).count()).toBe(1)
        // A table that draws every row takes many seconds.
        expect(spentMs).toBeLessThan(1_500)
      })
    },
    testDeadlineMs,
  )

  it.each(['dark', 'light'] as const)(
    'is readable in the %s look',
    async (colorScheme) => {
      await withPage(
        '?agent=ticker#agents',
        async (page) => {
          const drawer = page.getByRole('dialog', { name: 'ticker' })
          await drawer.locator('[data-candidate]').first().waitFor()
          const texts = [
            '.tile-state',
            '.agent-status',
            '.aside',
            '.pill',
            'button',
            '.facts dt',
            '.candidates .good',
            '.output div',
            '.why-text',
            'th',
          ]
          for (const text of texts) await page.locator(text).first().waitFor()
          const contrasts = await page.locator(':root').evaluate(contrastsOf, texts)
          for (const { text, contrast } of contrasts) expect(contrast, text).toBeGreaterThanOrEqual(4.5)
          expect(contrasts.length).toBeGreaterThan(texts.length - 1)
        },
        undefined,
        colorScheme,
      )
    },
    testDeadlineMs,
  )

  it(
    'shows the agents of a killed node on others, by itself',
    async () => {
      await withPage('#agents', async (page) => {
        const victim = nodes[2] as RealNode
        const there = async () => (await listed()).filter(({ node_id }) => node_id === victim.id)
        if ((await there()).length === 0) {
          const answer = await fetch(`${at(0)}/api/agents/c-2/migrate`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ node_id: victim.id }),
          })
          expect(answer.status).toBe(200)
        }
        const lost = await there()
        await place(page, lost[0]?.name ?? '', victim.id).waitFor()
        await cluster.end(victim)
        await page.locator(`[data-tile="${victim.id}"]`).getByText('offline').waitFor()
        for (const { name } of lost) {
          await row(page, name).getByText('its node was lost').waitFor()
          await row(page, name).getByText('running').waitFor()
          expect(await row(page, name).textContent()).not.toContain(victim.id)
        }
        await page.getByTestId('agents-stale').waitFor({ state: 'detached' })
      })
    },
    testDeadlineMs,
  )

  function at(index: number): string {
    const node = nodes[index]
    if (node === undefined) throw new Error(`node ${index + 1} did not start`)
    return node.url
  }

  function withPage(
    query: string,
    look: (page: Page) => Promise<void>,
    expected?: RegExp,
    colorScheme?: 'dark' | 'light',
  ): Promise<void> {
    return visit(
      {
        browser,
        site,
        url: `${at(0)}/${query}`,
        expected,
        ...(colorScheme === undefined ? {} : { colorScheme }),
      },
      look,
    )
  }

  async function create(agent: object): Promise<void> {
    const answer = await fetch(`${at(0)}/api/agents`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(agent),
    })
    if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`)
  }

  // What another node than the page's says.
  async function listed(): Promise<AgentJson[]> {
    return (await getJson<{ agents: AgentJson[] }>(`${at(1)}/api/agents`)).agents
  }

  function shown(name: string): Promise<AgentJson> {
    return getJson(`${at(1)}/api/agents/${name}`)
  }

  async function strategy(): Promise<string> {
    const { balancer } = await getJson<{ balancer: { strategy: string } }>(`${at(1)}/api/cluster/stats`)
    return balancer.strategy
  }

  async function operations(): Promise<OperationJson[]> {
    return (await getJson<{ operations: OperationJson[] }>(`${at(0)}/api/cluster/operations`)).operations
  }
})

function row(page: Page, name: string): Locator {
  return page.locator(`[data-agent="${name}"]`)
}

/** What says that it is there, and not on its way. */
function place(page: Page, name: string, nodeId: string): Locator {
  return row(page, name)
    .locator('.col-node')
    .filter({ hasText: new RegExp(`^${nodeId}$`) })
}

/** As the page has it now; what the driver knows of its address may be older. */
async function queryOf(page: Page): Promise<URLSearchParams> {
  return new URLSearchParams(await page.evaluate<string>('location.search'))
}

function positive(agent: AgentJson): AgentJson | undefined {
  return agent.pid > 0 ? agent : undefined
}

async function tabTo(page: Page, target: Locator): Promise<void> {
  for (let steps = 0; steps < 20; steps++) {
    if (await target.evaluate((element) => element === element.ownerDocument.activeElement)) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`Tab does not lead to ${target} within ${seeDeadlineMs} ms`)
}
