/** The files under `deploy/` against what the code takes: options, ports, paths, times. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { validate } from 'dockerfile-utils'
import { describe, expect, it } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { options, variableOf } from '../../src/config/options.js'
import { resolveConfig, toNodeConfig } from '../../src/config/resolve.js'
import { systemRoutes } from '../../src/http/system-routes.js'
import type { NodeConfig, SkeinNode } from '../../src/runtime/node-api.js'

const root = join(import.meta.dirname, '../..')
const deploy = join(root, 'deploy')
const read = (path: string): string => readFileSync(join(deploy, path), 'utf8')

type Tree = Readonly<Record<string, unknown>>
type Env = Readonly<Record<string, string>>

/** By way of names and indexes; undefined where it leads nowhere. */
function at<T>(tree: unknown, ...path: readonly (string | number)[]): T {
  return path.reduce<unknown>(
    (node, key) => (node as Record<string | number, unknown> | undefined)?.[key],
    tree,
  ) as T
}

const manifests = readdirSync(join(deploy, 'kubernetes'))
  .filter((name) => name !== 'kustomization.yaml')
  .flatMap((name) =>
    parseAllDocuments(read(`kubernetes/${name}`)).map((document) => {
      expect(document.errors, name).toEqual([])
      return document.toJS() as Tree
    }),
  )

function manifest(kind: string, name: string): Tree {
  const found = manifests.find((m) => m.kind === kind && at(m, 'metadata', 'name') === name)
  if (found === undefined) throw new Error(`no ${kind} ${name}`)
  return found
}

/** What a node makes of these variables. Throws for a name that no option has, or a value that it does not take. */
function configOf(env: Env): NodeConfig {
  const known = new Set(options.flatMap(({ flag, aliases = [] }) => [flag, ...aliases]).map(variableOf))
  for (const name of Object.keys(env)) expect([...known], name).toContain(name)
  return toNodeConfig(resolveConfig({ env }))
}

/** Preparations beside the drain: readiness, clients, connections. */
const closingS = 10

const healthPaths = systemRoutes({} as SkeinNode, { isQuiescing: () => false, openapi: () => '' }).map(
  (r) => r.path,
)

describe('systemd', () => {
  const unit = read('systemd/skein.service')
  const setting = (name: string): string | undefined => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1]
  const env = Object.fromEntries(
    read('systemd/skein.env')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  )

  it('is given options that a node takes, and time to drain', () => {
    const config = configOf(env)
    expect(config.dataDir.startsWith(`/var/lib/${setting('StateDirectory')}/`)).toBe(true)
    expect(Number(setting('TimeoutStopSec'))).toBeGreaterThanOrEqual(
      config.drainDeadlineMs / 1_000 + closingS,
    )
    expect(setting('KillSignal')).toBe('SIGTERM')
    expect(setting('EnvironmentFile')).toBe('/etc/skein/skein.env')
  })

  const verify = spawnSync('systemd-analyze', ['--version']).status === 0
  if (!verify)
    console.warn('no systemd-analyze (Debian: systemd): whether systemd understands the unit is skipped')
  it.skipIf(!verify)('has a unit that systemd understands', () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-unit-'))
    try {
      const path = join(dir, 'skein.service')
      // Here the program is elsewhere, and there is no user of that name.
      const local = unit
        .replace(/^ExecStart=.*$/m, `ExecStart=${process.execPath} ${join(root, 'bin/skein.js')} start`)
        .replaceAll(/^(User|Group)=.*$/gm, '$1=root')
      writeFileSync(path, local)
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', path], {
        encoding: 'utf8',
      })
      const said = stderr.split('\n').filter((line) => line.includes('skein.service'))
      expect(said).toEqual([])
      expect(status).toBe(0)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})

describe('the Dockerfile', () => {
  const text = read('docker/Dockerfile')
  const instructions = text
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => /^[A-Z]/.test(line))
    .map((line) => ({ name: line.split(' ')[0], rest: line.slice(line.indexOf(' ') + 1).trim() }))
  const of = (name: string): string[] => instructions.filter((i) => i.name === name).map((i) => i.rest)

  it('is one that Docker understands', () => {
    expect(validate(text).map((d) => `${d.range.start.line + 1}: ${d.message}`)).toEqual([])
  })

  it('copies what there is, and what its ignore file lets through', () => {
    const allowed = readFileSync(join(root, '.dockerignore'), 'utf8').match(/^!.+$/gm) ?? []
    const sources = of('COPY').flatMap((rest) =>
      rest.startsWith('--from') ? [] : rest.split(' ').slice(0, -1),
    )
    expect(sources.length).toBeGreaterThan(5)
    for (const source of sources) {
      expect(existsSync(join(root, source)), source).toBe(true)
      expect(allowed, source).toContain(`!${source.replace(/^\.\//, '')}`)
    }
  })

  it('runs the node as process of a user of its own, with the ports and the health check of the code', () => {
    expect(of('USER').at(-1)).toMatch(/^[1-9]\d+:[1-9]\d+$/)
    const defaults = configOf({})
    const ports = of('EXPOSE').join(' ').split(' ')
    expect(ports).toEqual(
      expect.arrayContaining([String(defaults.port), String(defaults.peerPort), `${defaults.peerPort}/udp`]),
    )
    expect(of('HEALTHCHECK').join('')).toContain(`127.0.0.1:${defaults.port}/livez`)
    expect(of('ENTRYPOINT').join('')).toContain('/bin/skein.js')
    const env = Object.fromEntries(
      [
        ...of('ENV')
          .join(' ')
          .matchAll(/(SKEIN_\w+)=(\S+)/g),
      ].map((m) => [m[1], m[2]]),
    )
    expect(configOf(env as Env).dataDir.startsWith(of('VOLUME').join(''))).toBe(true)
  })
})

describe('the manifests for Kubernetes', () => {
  const set = manifest('StatefulSet', 'skein')
  const pod = at<Tree>(set, 'spec', 'template', 'spec')
  const container = at<Tree>(pod, 'containers', 0)
  const fixed = at<Env>(manifest('ConfigMap', 'skein'), 'data')
  const own = Object.fromEntries(
    at<readonly { name: string; valueFrom: unknown }[]>(container, 'env').map(({ name, valueFrom }) => [
      name,
      at<string>(valueFrom, 'fieldRef', 'fieldPath') === 'status.podIP' ? '10.1.2.3' : 'skein-0',
    ]),
  )
  const config = configOf({ ...fixed, ...own })
  const ports = at<readonly { name: string; containerPort: number; protocol?: string }[]>(container, 'ports')
  const port = (name: unknown): { containerPort: number; protocol?: string } | undefined =>
    ports.find((p) => p.name === name)

  it('listen where the nodes are told to', () => {
    expect(port('http')?.containerPort).toBe(config.port)
    expect(port('peer-tcp')?.containerPort).toBe(config.peerPort)
    expect(port('peer-udp')).toMatchObject({ containerPort: config.peerPort, protocol: 'UDP' })
    expect(port('control')?.containerPort).toBe(config.controlPort)
    for (const service of ['skein', 'skein-peers'])
      for (const given of at<Tree[]>(manifest('Service', service), 'spec', 'ports')) {
        const target = port(given.targetPort)
        expect(target?.containerPort, service).toBe(given.port)
        expect(target?.protocol ?? 'TCP').toBe(given.protocol ?? 'TCP')
      }
    const open = at<Tree[]>(manifest('NetworkPolicy', 'skein'), 'spec', 'ingress').flatMap((rule) =>
      at<Tree[]>(rule, 'ports').map((p) => `${p.port} ${p.protocol ?? 'TCP'}`),
    )
    const wanted = ports.map((p) => `${p.containerPort} ${p.protocol ?? 'TCP'}`)
    expect(open.sort()).toEqual(wanted.sort())
  })

  it('find each other by the headless service, before they are ready', () => {
    const peers = manifest('Service', at<string>(set, 'spec', 'serviceName'))
    expect(at(peers, 'spec', 'clusterIP')).toBe('None')
    expect(at(peers, 'spec', 'publishNotReadyAddresses')).toBe(true)
    expect(config.discover).toEqual([`dns:${at(peers, 'metadata', 'name')}:${config.peerPort}`])
    const labels = at<Tree>(set, 'spec', 'template', 'metadata', 'labels')
    const selectors = [
      at(set, 'spec', 'selector', 'matchLabels'),
      at(peers, 'spec', 'selector'),
      at(manifest('Service', 'skein'), 'spec', 'selector'),
      at(manifest('PodDisruptionBudget', 'skein'), 'spec', 'selector', 'matchLabels'),
      at(manifest('NetworkPolicy', 'skein'), 'spec', 'podSelector', 'matchLabels'),
    ]
    for (const selector of selectors) expect(labels).toMatchObject(selector as Tree)
    // A service named skein would set SKEIN_PORT in every pod.
    expect(pod.enableServiceLinks).toBe(false)
  })

  it('are asked at paths that there are, and killed only after long silence', () => {
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      expect(healthPaths, probe).toContain(at(container, probe, 'httpGet', 'path'))
      expect(at(container, probe, 'httpGet', 'port')).toBe('http')
    }
    expect(at(container, 'livenessProbe', 'httpGet', 'path')).toBe('/livez')
    expect(at(container, 'readinessProbe', 'httpGet', 'path')).toBe('/readyz')
    const silenceS =
      at<number>(container, 'livenessProbe', 'periodSeconds') *
      at<number>(container, 'livenessProbe', 'failureThreshold')
    expect(silenceS).toBeGreaterThanOrEqual(60)
  })

  it('have the time to drain when they are stopped', () => {
    const preStop = at<string[]>(container, 'lifecycle', 'preStop', 'exec', 'command')
    expect(preStop[0]).toBe('sleep')
    expect(at<number>(pod, 'terminationGracePeriodSeconds')).toBeGreaterThanOrEqual(
      Number(preStop[1]) + config.drainDeadlineMs / 1_000 + closingS,
    )
    expect(at(manifest('PodDisruptionBudget', 'skein'), 'spec', 'maxUnavailable')).toBe(1)
  })

  it('read secrets and keep data where they are mounted, as the user of the image', () => {
    const mounts = at<{ name: string; mountPath: string; readOnly?: boolean }[]>(container, 'volumeMounts')
    const mount = (name: string): string => mounts.find((m) => m.name === name)?.mountPath ?? '(none)'
    for (const file of [config.cookieFile, config.tokenFile])
      expect(file?.startsWith(`${mount('secrets')}/`)).toBe(true)
    for (const [, file = ''] of config.journal.matchAll(/(?:password-file|sslrootcert)=([^&]+)/g))
      expect(file.startsWith(`${mount('secrets')}/`), file).toBe(true)
    expect(config.dataDir.startsWith(`${mount('data')}/`)).toBe(true)
    expect(at(set, 'spec', 'volumeClaimTemplates', 0, 'metadata', 'name')).toBe('data')
    const user = /^USER (\d+):(\d+)$/m.exec(read('docker/Dockerfile'))
    expect(at(pod, 'securityContext')).toMatchObject({
      runAsUser: Number(user?.[1]),
      runAsGroup: Number(user?.[2]),
      fsGroup: Number(user?.[2]),
      runAsNonRoot: true,
    })
    // Whoever is not the owner may read by the group alone, and nobody else.
    expect(at<number>(pod, 'volumes', 0, 'secret', 'defaultMode')).toBe(0o440)
  })

  it('are all named to kustomize', () => {
    const [document] = parseAllDocuments(read('kubernetes/kustomization.yaml'))
    const files = readdirSync(join(deploy, 'kubernetes')).filter((f) => f !== 'kustomization.yaml')
    expect(at<string[]>(document?.toJS(), 'resources').sort()).toEqual(files.sort())
  })
})
