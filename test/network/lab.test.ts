/** The network lab itself: what it breaks is broken, what it heals is well, and nothing of it stays behind. */
import { execFileSync } from 'node:child_process'
import { afterEach, describe, expect, it } from 'vitest'
import { isWithoutNetLab, type LabProcess, NetLab } from '../../tools/prove/lib/netlab.js'

const port = 8_000
const answer = `require('node:http').createServer((q, s) => s.end('here')).listen(${port}, process.argv[1], () => console.log('up'))`
const ask = `fetch('http://' + process.argv[1] + ':${port}', { signal: AbortSignal.timeout(1500) }).then((r) => r.text(), (e) => e.name).then(console.log)`

const labs: NetLab[] = []
afterEach(() => {
  for (const lab of labs.splice(0)) lab.end()
})

async function makeLab(): Promise<NetLab> {
  const lab = new NetLab(['a', 'b', 'c'])
  labs.push(lab)
  await Promise.all(lab.names.map((name) => said(node(lab, name, answer, lab.address(name)))))
  return lab
}

function node(lab: NetLab, at: string, script: string, address: string): LabProcess {
  return lab.spawn(at, process.execPath, ['-e', script, address])
}

function said(from: LabProcess): Promise<string> {
  return new Promise((done) => from.child.stdout?.once('data', (chunk: Buffer) => done(String(chunk).trim())))
}

async function reaches(lab: NetLab, from: string, to: string): Promise<boolean> {
  return (await said(node(lab, from, ask, lab.address(to)))) === 'here'
}

describe.skipIf(isWithoutNetLab('the network lab'))('the network lab', () => {
  it('cuts and heals groups, one direction, and a link', async () => {
    const lab = await makeLab()
    lab.cut(['a'], ['b', 'c'])
    expect([await reaches(lab, 'a', 'b'), await reaches(lab, 'b', 'c')]).toEqual([false, true])
    lab.heal()
    expect(await reaches(lab, 'a', 'b')).toBe(true)
    lab.cutOneWay(['b'], ['a'])
    expect([await reaches(lab, 'a', 'b'), await reaches(lab, 'a', 'c')]).toEqual([false, true])
    lab.heal()
    lab.linkDown('c')
    expect([await reaches(lab, 'a', 'c'), await reaches(lab, 'a', 'b')]).toEqual([false, true])
    lab.heal()
    expect(await reaches(lab, 'c', 'a')).toBe(true)
  }, 30_000)

  it('loses and delays packets', async () => {
    const lab = await makeLab()
    lab.lose(100)
    expect(await reaches(lab, 'a', 'b')).toBe(false)
    lab.heal()
    const how = await lab.delay(100, 10)
    const startMs = performance.now()
    expect(await reaches(lab, 'a', 'b')).toBe(true)
    const delayedMs = performance.now() - startMs
    lab.heal()
    expect(await reaches(lab, 'a', 'b')).toBe(true)
    console.log(`latency by ${how}: an exchange of two round trips of 200 ms took ${delayedMs.toFixed(0)} ms`)
    // Address resolution, connect, request: each there and back.
    expect(delayedMs).toBeGreaterThan(380)
  }, 30_000)

  it('leaves no process and no namespace behind', async () => {
    const lab = await makeLab()
    const { pid, child } = node(lab, 'a', 'setInterval(() => {}, 1000)', '')
    const gone = new Promise((done) => child.once('exit', done))
    lab.end()
    await gone
    expect(() => process.kill(pid, 0)).toThrow()
    expect(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })).not.toContain(`skein${process.pid}x`)
  }, 30_000)

  it('removes the namespaces of a test that was killed', () => {
    // No process has this number: it is above what the kernel gives.
    execFileSync('ip', ['netns', 'add', 'skein4194399x1-a'])
    new NetLab(['a']).end()
    expect(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })).not.toContain('skein4194399x1')
  })
})
