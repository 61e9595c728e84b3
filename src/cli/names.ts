/**
 * What a name on the command line may name, where a node lists those names, and below which path one of them stands: for completion, and for
 * the nearest one when there is none such.
 */
import { strategies } from '../core/kernel/strategies.js'
import { accessRoles } from '../keys/roles.js'

interface Listed {
  /** The word for people. */
  readonly what: string
  /** Where they are listed. */
  readonly path: string
  /** Below which path a single one stands. */
  readonly below: string
  readonly of: (answer: Answer) => readonly unknown[]
}

type Answer = Readonly<Record<string, unknown>>

const rows = (answer: Answer, list: string, field: string): readonly unknown[] =>
  ((answer[list] ?? []) as readonly Answer[]).map((row) => row[field])

const listed = {
  node: {
    what: 'node',
    path: '/api/cluster/nodes',
    below: '/api/cluster/nodes/',
    of: (answer) => rows(answer, 'nodes', 'id'),
  },
  agent: {
    what: 'agent',
    path: '/api/agents?limit=10000',
    below: '/api/agents/',
    of: (answer) => rows(answer, 'agents', 'name'),
  },
  operation: {
    what: 'operation',
    path: '/api/cluster/operations',
    below: '/api/cluster/operations/',
    of: (answer) => rows(answer, 'operations', 'id'),
  },
  service: {
    what: 'service',
    path: '/api/services',
    below: '/api/services/',
    of: (answer) => rows(answer, 'services', 'name'),
  },
  name: {
    what: 'name',
    path: '/api/names',
    below: '/api/names/',
    of: (answer) => rows(answer, 'names', 'name'),
  },
  room: {
    what: 'room',
    path: '/api/rooms?limit=1000',
    below: '/api/rooms/',
    of: (answer) => rows(answer, 'rooms', 'room'),
  },
  session: {
    what: 'session',
    path: '/api/sessions?limit=1000',
    below: '/api/sessions/',
    of: (answer) => rows(answer, 'sessions', 'id'),
  },
  processor: {
    what: 'processor',
    path: '/api/processors',
    below: '/api/spawn',
    of: (answer) => rows(answer, 'processors', 'name'),
  },
  run: {
    what: 'run',
    path: '/api/processors',
    below: '/api/processors/',
    of: (answer) => rows(answer, 'running', 'id'),
  },
  config: {
    what: 'document',
    path: '/api/config',
    below: '/api/config/',
    of: (answer) => rows(answer, 'documents', 'key'),
  },
  map: {
    what: 'map',
    path: '/api/maps',
    below: '/api/maps/',
    of: (answer) => rows(answer, 'maps', 'name'),
  },
} satisfies Readonly<Record<string, Listed>>

const fixed = {
  strategy: strategies,
  role: accessRoles,
  shell: ['bash', 'zsh', 'fish'],
  rotation: ['add', 'use', 'drop'],
} as const

export type ListedKind = keyof typeof listed
export type NameKind = ListedKind | keyof typeof fixed | 'file'

/** The names that are known without asking anybody. */
export function fixedNames(kind: NameKind): readonly string[] | undefined {
  return (fixed as Partial<Record<NameKind, readonly string[]>>)[kind]
}

export function listedNames(kind: NameKind): Listed | undefined {
  return (listed as Partial<Record<NameKind, Listed>>)[kind]
}

/** What a node's answer says there is, as text. */
export function namesIn(list: Listed, answer: unknown): readonly string[] {
  if (typeof answer !== 'object' || answer === null) return []
  return list.of(answer as Answer).filter((name): name is string => typeof name === 'string')
}

export interface Named {
  readonly list: Listed
  readonly name: string
}

/** Which single thing a path is about. */
export function namedBy(path: string): Named | undefined {
  const bare = path.replace(/\?.*$/, '')
  for (const list of Object.values<Listed>(listed)) {
    if (!list.below.endsWith('/') || !bare.startsWith(list.below)) continue
    const [name = '', more] = bare.slice(list.below.length).split('/')
    if (list === listed.map && more !== undefined)
      return { list: keysOf(name), name: decodeURIComponent(more) }
    return { list, name: decodeURIComponent(name) }
  }
  return undefined
}

/** What a refusal says is not there, where it is another thing than the path is about: the node of a move, the processor of a run. */
export function namedIn(problem: unknown): Named | undefined {
  const { node_id, processor } = (problem ?? {}) as {
    readonly node_id?: unknown
    readonly processor?: unknown
  }
  if (typeof processor === 'string') return { list: listed.processor, name: processor }
  return typeof node_id === 'string' ? { list: listed.node, name: node_id } : undefined
}

/** Of a map, its name as it stands in a path. */
function keysOf(map: string): Listed {
  const path = `/api/maps/${map}`
  return {
    what: 'key',
    path: `${path}?limit=1000`,
    below: `${path}/`,
    of: (answer) => rows(answer, 'entries', 'key'),
  }
}
