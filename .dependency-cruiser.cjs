// The import rules of the design: what each folder of src may see. `npm run check` fails on the first breach.
const core = '^src/core/'
const npmOrNode = ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-no-pkg', 'unknown']

/** A folder of core sees the kernel, the clock and itself. */
const coreFolders = [
  'kernel',
  'hlc',
  'membership',
  'election',
  'sharding',
  'balancing',
  // What is placed, and who chooses the place.
  ['agents', 'balancing'],
  'maps',
  'processing',
  'registry',
  'services',
  'rooms',
  'routing',
  'wire',
].map((entry) => {
  const [name, ...others] = [entry].flat()
  return {
    name: `core-${name}-is-alone`,
    comment: `core/${name} sees core/kernel, core/hlc and itself; core/node brings machines together`,
    severity: 'error',
    from: { path: `${core}${name}/` },
    to: { path: '^src/', pathNot: `${core}(${[name, 'kernel', 'hlc', ...others].join('|')})/` },
  }
})

module.exports = {
  forbidden: [
    ...coreFolders,
    {
      name: 'kernel-is-the-ground',
      severity: 'error',
      from: { path: `${core}kernel/` },
      to: { path: '^src/', pathNot: `${core}kernel/` },
    },
    {
      name: 'core-knows-no-world',
      comment: 'no ports, no drivers, no runtime',
      severity: 'error',
      from: { path: core },
      to: { path: '^src/', pathNot: core },
    },
    {
      name: 'core-does-no-io',
      comment: 'no node:, no npm',
      severity: 'error',
      from: { path: core },
      to: { dependencyTypes: npmOrNode },
    },
    {
      name: 'ports-are-types',
      severity: 'error',
      from: { path: '^src/ports/' },
      to: { pathNot: `^src/ports/|${core}(kernel|hlc)/` },
    },
    {
      name: 'drivers-see-ports-and-engines',
      comment: 'ports, kernel, hlc, wire, engines, node: and npm, never a sibling',
      severity: 'error',
      from: { path: '^src/drivers/([^/]+)/' },
      to: { path: '^src/', pathNot: `^src/(drivers/$1|ports|engines)/|${core}(kernel|hlc|wire)/` },
    },
    {
      name: 'engines-see-no-drivers',
      comment: 'what several drivers share: ports, kernel, hlc, wire and one another',
      severity: 'error',
      from: { path: '^src/engines/' },
      to: { path: '^src/', pathNot: `^src/(engines|ports)/|${core}(kernel|hlc|wire)/` },
    },
    {
      name: 'keys-are-the-ground-of-the-doors',
      comment:
        'secrets and their files: the kernel, node: and npm; roles are pure, for the contract and the dashboard',
      severity: 'error',
      from: { path: '^src/keys/' },
      to: { path: '^src/', pathNot: `^src/keys/|${core}kernel/` },
    },
    {
      name: 'only-compose-names-drivers',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(drivers/|runtime/compose\\.ts$)' },
      to: { path: '^src/drivers/' },
    },
    {
      name: 'http-sees-the-facade',
      comment: 'the facade of the runtime, the kernel, the version, and its own contract',
      severity: 'error',
      from: { path: '^src/http/' },
      to: {
        path: '^src/',
        pathNot: `^src/(http|keys)/|^src/runtime/node-api\\.ts$|${core}(kernel/|version\\.ts$)`,
      },
    },
    {
      name: 'config-sees-the-facade',
      severity: 'error',
      from: { path: '^src/config/' },
      to: { path: '^src/', pathNot: `^src/config/|^src/runtime/node-api\\.ts$|${core}kernel/` },
    },
    {
      name: 'cli-sees-config-and-contract',
      severity: 'error',
      from: { path: '^src/cli/', pathNot: '^src/cli/commands/(start|up|doctor|carry)\\.ts$' },
      to: {
        path: '^src/',
        pathNot: `^src/(cli|client|config|keys)/|^src/http/(service-)?contract\\.ts$|${core}(kernel/|version\\.ts$)`,
      },
    },
    {
      name: 'start-and-up-compose-nodes',
      severity: 'error',
      from: { path: '^src/cli/commands/(start|up|doctor|carry)\\.ts$' },
      to: {
        path: '^src/',
        pathNot: `^src/(cli|config|keys|runtime)/|^src/http/(service-)?contract\\.ts$|${core}(kernel/|version\\.ts$)`,
      },
    },
    {
      name: 'runtime-sees-no-surface',
      comment: 'createNode alone starts HTTP',
      severity: 'error',
      from: { path: '^src/runtime/', pathNot: '^src/runtime/create-node\\.ts$' },
      to: { path: '^src/(http|cli|config|sim|testing)/' },
    },
    {
      name: 'sim-is-virtual',
      comment: 'the core, the pure part of the engines, and of the runtime what does no I/O; no driver',
      severity: 'error',
      from: { path: '^src/sim/' },
      to: {
        path: '^src/(drivers|runtime|http|cli|config|testing)/',
        pathNot: '^src/runtime/(consumers|publishing|event-checks|node-api)\\.ts$',
      },
    },
    {
      name: 'client-is-alone',
      comment: 'it goes into browsers: nothing of the rest, and of npm only ws where there is no WebSocket',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { pathNot: '^src/client/|node_modules/(@types/)?ws/' },
    },
    {
      name: 'no-cycles',
      comment: 'two files may name each other’s types; nothing may need itself to load',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'nothing-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-dependency-ships',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only', 'npm-peer'] },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
}
