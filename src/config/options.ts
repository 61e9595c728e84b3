/**
 * Every option of a node, once: its type, range, unit, default, the flag and the variables that set it, and what a wrong value
 * costs. Parsing, `--help`, `--print-config` and the tables of the docs come from here. No reading of anything here.
 */
import type { NodeConfig } from '../runtime/node-api.js'

/** A variable of an older system; `part` picks one half of a `host:port`. */
export interface OlderVariable {
  readonly name: string
  readonly part?: 'host' | 'port'
}

interface OptionBase {
  /** Key in the config file and in `NodeConfig`. */
  readonly key: Exclude<keyof NodeConfig, 'threads' | 'http'>
  readonly flag: string
  readonly aliases?: readonly string[]
  /** In order of precedence. */
  readonly older?: readonly OlderVariable[]
  /** Never printed. */
  readonly isSecret?: boolean
  /** Meaning, and the cost of being wrong in each direction. */
  readonly doc: string
}

export interface TextOption extends OptionBase {
  readonly kind: 'text'
  readonly default?: string
  readonly pattern?: RegExp
  /** What `pattern` allows, in words. */
  readonly allowed?: string
}

export interface IntegerOption extends OptionBase {
  readonly kind: 'integer'
  readonly default: number
  readonly min: number
  readonly max: number
  readonly unit?: string
}

export interface BooleanOption extends OptionBase {
  readonly kind: 'boolean'
  readonly default: boolean
}

export interface ChoiceOption extends OptionBase {
  readonly kind: 'choice'
  readonly default: string
  readonly choices: readonly string[]
}

/** `addresses` are kept as host:port, whichever way they were written. */
export interface ListOption extends OptionBase {
  readonly kind: 'list' | 'addresses'
  readonly default: readonly string[]
}

export interface LabelsOption extends OptionBase {
  readonly kind: 'labels'
  readonly default: Readonly<Record<string, string>>
}

export type Option = TextOption | IntegerOption | BooleanOption | ChoiceOption | ListOption | LabelsOption

const name = { pattern: /^[A-Za-z0-9._-]{1,64}$/, allowed: '1 to 64 of A-Z a-z 0-9 . _ -' } as const
const place = { pattern: /^[A-Za-z0-9._-]{0,64}$/, allowed: 'at most 64 of A-Z a-z 0-9 . _ -' } as const
const journalEngine = {
  pattern: /^(sqlite:|postgres(ql)?:\/\/).+$/s,
  allowed: 'sqlite:DIRECTORY or postgres://USER@HOST:PORT,…/DATABASE',
} as const
const storeEngine = {
  pattern: /^((sqlite:|etcds?:\/\/).+|etcd\+managed:.*)$/s,
  allowed: 'sqlite:PATH, etcd://HOST:PORT,… or etcd+managed:',
} as const

export const options: readonly Option[] = [
  {
    key: 'nodeId',
    flag: 'node-id',
    aliases: ['cluster'],
    kind: 'text',
    ...name,
    older: [{ name: 'MESHER_NODE_NAME' }, { name: 'COMMY_SERVER_ID' }],
    doc: 'stable name of this node, kept in the data directory and made up at first start when absent. Two nodes of one name: the second is refused',
  },
  {
    key: 'clusterName',
    flag: 'cluster-name',
    kind: 'text',
    ...name,
    default: 'skein',
    doc: 'nodes of different clusters refuse each other. One name for two clusters: only their cookies keep them apart',
  },
  {
    key: 'host',
    flag: 'host',
    kind: 'text',
    default: '127.0.0.1',
    older: [{ name: 'ORIONIS_HTTP_ADDR', part: 'host' }],
    doc: 'where HTTP listens. Other than loopback needs a --token-file that holds a token, or --insecure',
  },
  {
    key: 'port',
    flag: 'port',
    kind: 'integer',
    min: 0,
    max: 65_535,
    default: 8151,
    older: [
      { name: 'MESHER_HTTP_PORT' },
      { name: 'MESHER_WS_PORT' },
      { name: 'ORIONIS_HTTP_ADDR', part: 'port' },
    ],
    doc: 'HTTP and WebSocket port; 0 takes a free one, another after each start',
  },
  {
    key: 'peerHost',
    flag: 'peer-host',
    kind: 'text',
    default: '127.0.0.1',
    doc: 'where peers connect (TCP and UDP). Loopback: no other machine can join; anything else needs a cookie or certificates',
  },
  {
    key: 'peerPort',
    flag: 'peer-port',
    kind: 'integer',
    min: 0,
    max: 65_535,
    default: 6745,
    older: [{ name: 'COMMY_LISTEN_PORT' }],
    doc: 'peer port, TCP and UDP (with --transport ws or wss TCP alone); 0 takes a free one, which others cannot be told beforehand',
  },
  {
    key: 'advertise',
    flag: 'advertise',
    kind: 'text',
    doc: 'host or host:port that other nodes use for this one, when it differs from --peer-host. With a port: the peer port is mapped there, TCP and UDP. Wrong: others see this node join and then fail',
  },
  {
    key: 'transport',
    flag: 'transport',
    kind: 'choice',
    choices: ['tcp', 'ws', 'wss'],
    default: 'tcp',
    doc: 'how nodes reach each other, the same for all: tcp (and UDP); ws, WebSockets over HTTP, where nothing else passes; wss, through proxies that end HTTPS. What nodes say is encrypted and proved from end to end with each (docs/OPERATIONS.md). WebSockets without need: more CPU for each message',
  },
  {
    key: 'controlPort',
    flag: 'control-port',
    kind: 'integer',
    min: 0,
    max: 65_535,
    default: 0,
    doc: 'second peer port, TCP, where the control threads of nodes reach each other; 0 takes a free one and tells the others. Fixed: for a firewall or a proxy',
  },
  {
    key: 'advertiseControl',
    flag: 'advertise-control',
    kind: 'text',
    doc: 'host or host:port that other nodes use for the control port, when it differs from --advertise. A proxy that leads /skein/control there may have the same address as for the peer port. Wrong: others see this node join and then fail',
  },
  {
    key: 'peers',
    flag: 'peer',
    aliases: ['cluster-peers'],
    kind: 'addresses',
    default: [],
    older: [{ name: 'MESHER_PEERS' }, { name: 'COMMY_CLUSTER_NODES' }],
    doc: 'nodes to join through: host:port, id:host:port or name@host:port; repeated or joined by commas. One that answers is enough; none: runs alone',
  },
  {
    key: 'discover',
    flag: 'discover',
    kind: 'list',
    default: [],
    doc: 'where peers are found, looked at again and again: dns:NAME:PORT, dns+srv:NAME (both with ?server=HOST:PORT), file:PATH with a host:port a line. What it forgets is not a member that left',
  },
  {
    key: 'mirror',
    flag: 'mirror',
    kind: 'list',
    default: [],
    doc: 'STREAM=URL: copy that stream to another cluster over its HTTP API, in the order of each key, under the same ids; repeated. The same on every node: shards of a node without it are not copied',
  },
  {
    key: 'mirrorTokenFile',
    flag: 'mirror-token-file',
    kind: 'text',
    doc: 'file with the bearer token for the clusters that are mirrored to',
  },
  {
    key: 'advertiseSpecial',
    flag: 'advertise-special',
    kind: 'boolean',
    default: false,
    doc: 'allow link-local and cloud metadata addresses as addresses of nodes. On without need: whoever joins can make nodes send there',
  },
  {
    key: 'cookie',
    flag: 'cookie',
    kind: 'text',
    pattern: /^.{8,1024}$/s,
    allowed: '8 to 1024 characters; 32 random bytes in hex are better',
    older: [{ name: 'MESHER_COOKIE' }],
    isSecret: true,
    doc: 'shared secret of the cluster; without one, the nodes of a host share a generated file. On a command line others can read it: prefer the file. Shorter than 32 bytes: whoever records one handshake can guess it, and the log says so',
  },
  {
    key: 'cookieFile',
    flag: 'cookie-file',
    kind: 'text',
    doc: 'file with the cookie, readable by its owner only, made by `skein cookie --file`; two lines while it is being changed, the first shown, both accepted. Looked at again when it changes',
  },
  {
    key: 'tlsCa',
    flag: 'tls-ca',
    kind: 'text',
    doc: 'file with the certificates of the authorities that sign nodes; several while one is being changed. With --tls-cert and --tls-key nodes know each other by certificates instead of the cookie (docs/SECURITY.md)',
  },
  {
    key: 'tlsCert',
    flag: 'tls-cert',
    kind: 'text',
    doc: 'file with this node’s certificate, which must name cluster and node (skein cert node). Looked at again when it changes; over: others let this node go',
  },
  {
    key: 'tlsKey',
    flag: 'tls-key',
    kind: 'text',
    doc: 'file with the key of --tls-cert, readable by its owner only',
  },
  {
    key: 'httpsCert',
    flag: 'https-cert',
    kind: 'text',
    doc: 'file with the certificate of the HTTP port, which then speaks HTTPS. Looked at again when it changes',
  },
  {
    key: 'httpsKey',
    flag: 'https-key',
    kind: 'text',
    doc: 'file with the key of --https-cert, readable by its owner only',
  },
  {
    key: 'tokenFile',
    flag: 'token-file',
    kind: 'text',
    doc: 'file with the tokens of HTTP, made by `skein token create`, readable by its owner only, looked at again when it changes. Once it holds one, whatever is not public needs a token (docs/SECURITY.md). Absent: whoever reaches the port may do anything',
  },
  {
    key: 'insecure',
    flag: 'insecure',
    kind: 'boolean',
    default: false,
    doc: 'serve HTTP to other machines without a token: anybody who reaches the port may do anything',
  },
  {
    key: 'dataDir',
    flag: 'data-dir',
    kind: 'text',
    older: [{ name: 'ORIONIS_DATA_DIR' }],
    doc: 'directory of this node alone; .skein/node-<peer port> when absent. Lost: the node comes back under a new id',
  },
  {
    key: 'store',
    flag: 'store',
    kind: 'text',
    ...storeEngine,
    doc: 'where the cluster keeps its truth, the same for all nodes: sqlite:PATH, shared by the nodes of one host; etcd://[user@]host:port,…[/namespace] for many hosts; etcd+managed: where the nodes are to run etcd themselves (docs/ETCD.md); store.db beside the data directory when absent',
  },
  {
    key: 'journal',
    flag: 'journal',
    kind: 'text',
    ...journalEngine,
    doc: 'where events are kept, the same for all nodes: sqlite:DIRECTORY, shared by the nodes of one host; postgres://user@host:port,…/database for many hosts (docs/POSTGRES.md); journal/ beside the data directory when absent',
  },
  {
    key: 'shards',
    flag: 'shards',
    kind: 'integer',
    min: 1,
    max: 4_096,
    default: 256,
    doc: 'slices of the key space, fixed when the cluster is first started. Too few: coarse balance; too many: more work at each take-over',
  },
  {
    key: 'preset',
    flag: 'preset',
    kind: 'choice',
    choices: ['local', 'lan', 'wan'],
    default: 'lan',
    doc: 'timings by kind of network. Too fast: healthy nodes are suspected; too slow: dead ones are noticed late',
  },
  {
    key: 'role',
    flag: 'role',
    kind: 'choice',
    choices: ['worker', 'replica', 'standby'],
    default: 'worker',
    doc: 'worker owns shards and may lead; replica only serves reads; standby takes nothing until capacity is lost',
  },
  {
    key: 'services',
    flag: 'service',
    kind: 'list',
    default: [],
    doc: 'names of services that this node offers; repeated or joined by commas',
  },
  {
    key: 'maxAgents',
    flag: 'max-agents',
    kind: 'integer',
    min: 0,
    max: 1_000_000,
    default: 100,
    doc: 'agents this node takes at most, as others are told; 0 for none. Too many: it is given more than it can run; too few: it stands idle',
  },
  {
    key: 'maxSpawned',
    flag: 'max-spawned',
    kind: 'integer',
    min: 0,
    max: 100_000,
    default: 100,
    doc: 'processors this node runs at a time, spawned or helping with a stream; over it spawns go elsewhere or are refused as overloaded. Too many: they starve each other; too few: it stands idle',
  },
  {
    key: 'allowExec',
    flag: 'allow-exec',
    kind: 'boolean',
    default: false,
    doc: 'run process agents: whoever may create agents (role operator, or anybody on this machine where no token is set) can run any program here, as the user of this node',
  },
  {
    key: 'load',
    flag: 'load',
    aliases: ['agents'],
    kind: 'list',
    default: [],
    doc: 'modules to load: the agents they export are run here, and an exported function setup(node) is called; repeated or joined by commas',
  },
  {
    key: 'rebalance',
    flag: 'rebalance',
    kind: 'choice',
    choices: ['auto', 'manual'],
    default: 'auto',
    doc: 'auto: the leader evens out shards and defined agents when nodes come and go; processes, which would restart, only move when asked. manual: what runs stays until it is drained, migrated or rebalanced',
  },
  {
    key: 'zone',
    flag: 'zone',
    kind: 'text',
    ...place,
    default: '',
    doc: 'failure zone, as others are told',
  },
  { key: 'region', flag: 'region', kind: 'text', ...place, default: '', doc: 'region, as others are told' },
  {
    key: 'labels',
    flag: 'label',
    kind: 'labels',
    default: {},
    doc: 'k=v; repeated or joined by commas; an object in the file',
  },
  {
    key: 'allowedOrigins',
    flag: 'allowed-origin',
    kind: 'list',
    default: [],
    doc: 'browser origins beside the node’s own that may write. Too many: a foreign page can act for whoever opens it',
  },
  {
    key: 'allowedHosts',
    flag: 'allowed-host',
    kind: 'list',
    default: [],
    doc: 'host names under which this node is reached, beside its addresses. Missing: requests under that name are refused',
  },
  {
    key: 'rateLimit',
    flag: 'rate-limit',
    kind: 'integer',
    min: 0,
    max: 1_000_000,
    unit: 'per second',
    default: 10_000,
    doc: 'HTTP requests of one token, or of one address without; 0 for no limit. Loopback without tokens is never limited. Too low: a busy client is told to wait (429); too high: one client can keep the node from the others',
  },
  {
    key: 'rateBurst',
    flag: 'rate-burst',
    kind: 'integer',
    min: 1,
    max: 1_000_000,
    default: 20_000,
    doc: 'requests of one client that may come at once, before the rate limit counts',
  },
  {
    key: 'auditMib',
    flag: 'audit-mib',
    kind: 'integer',
    min: 1,
    max: 65_536,
    unit: 'MiB',
    default: 64,
    doc: 'size of this node’s audit log, in the data directory; the oldest eighth goes when it is full. Smaller: less can be looked up later',
  },
  {
    key: 'roomHistory',
    flag: 'room-history',
    kind: 'list',
    default: [],
    doc: 'rooms whose names begin so keep a history in the journal, for replay and for clients that come back; the same on every node. Too many: every message there waits for the disk',
  },
  {
    key: 'roomClients',
    flag: 'room-clients',
    kind: 'integer',
    min: 0,
    max: 100_000,
    default: 10_000,
    doc: 'WebSockets of rooms (/ws) that may be open at this node at the same time. Too low: clients are sent away (429); too high: they take memory, about 20 KiB each, and what they do not read up to 1 MiB each',
  },
  {
    key: 'logLevel',
    flag: 'log-level',
    kind: 'choice',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    doc: 'least level that is logged',
  },
  {
    key: 'logFormat',
    flag: 'log-format',
    kind: 'choice',
    choices: ['json', 'pretty'],
    default: 'json',
    doc: 'lines of JSON, or one readable line each',
  },
  {
    key: 'drainDeadlineMs',
    flag: 'drain-deadline-ms',
    kind: 'integer',
    min: 0,
    max: 3_600_000,
    unit: 'ms',
    default: 30_000,
    doc: 'how long a stopping node may take to hand over. Shorter: successors wait for the seal instead; longer: a stop may hang for so long',
  },
  {
    key: 'externalOfflineMs',
    flag: 'external-offline-ms',
    kind: 'integer',
    min: 1_000,
    max: 86_400_000,
    unit: 'ms',
    default: 180_000,
    doc: 'an external node silent for so long is offline and its agents go elsewhere; nothing new after half of it. The same on every node. Shorter: a slow network costs it its agents; longer: they stand still longer',
  },
  {
    key: 'retentionHours',
    flag: 'retention-hours',
    kind: 'integer',
    min: 1,
    max: 876_000,
    unit: 'h',
    default: 168,
    doc: 'events older than this may be deleted. Shorter: late readers miss them; longer: more disk',
  },
  {
    key: 'retentionStreamMib',
    flag: 'retention-stream-mib',
    kind: 'integer',
    min: 1,
    max: 16_777_216,
    unit: 'MiB',
    default: 10_240,
    doc: 'a stream that takes more than this in one journal file loses its oldest events there. Smaller: late readers miss them; larger: more disk',
  },
]

/** The `SKEIN_*` variable of a flag. */
export function variableOf(flag: string): string {
  return `SKEIN_${flag.toUpperCase().replaceAll('-', '_')}`
}
