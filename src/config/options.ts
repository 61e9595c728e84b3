/**
 * Every option of a node, once: its type, range, default, the variables and flags that set it, and what it means. Parsing, `--help`, `--print-config`
 * and the tables of the docs come from here.
 */
export type OptionKind = 'text' | 'integer' | 'boolean' | 'list' | 'labels' | 'choice'

export interface Option {
  /** Key in the config file and of the result. */
  readonly key: string
  readonly flag: string
  readonly aliases?: readonly string[]
  readonly kind: OptionKind
  readonly choices?: readonly string[]
  readonly min?: number
  readonly max?: number
  readonly default?: unknown
  /** Variables of the older systems, in order of precedence. */
  readonly older?: readonly string[]
  readonly isSecret?: boolean
  /** Meaning, unit, and what a wrong value costs. */
  readonly doc: string
}

export const options: readonly Option[] = [
  {
    key: 'nodeId',
    flag: 'node-id',
    aliases: ['cluster'],
    kind: 'text',
    older: ['MESHER_NODE_NAME', 'COMMY_SERVER_ID'],
    doc: 'stable name of this node, 1 to 64 of A-Z a-z 0-9 . _ -; kept in the data directory, made up at first start when absent',
  },
  {
    key: 'clusterName',
    flag: 'cluster-name',
    kind: 'text',
    default: 'skein',
    doc: 'nodes of different clusters refuse each other',
  },
  {
    key: 'host',
    flag: 'host',
    kind: 'text',
    default: '127.0.0.1',
    doc: 'where HTTP listens; other than loopback needs --insecure until tokens exist',
  },
  {
    key: 'port',
    flag: 'port',
    kind: 'integer',
    min: 0,
    max: 65_535,
    default: 8151,
    older: ['MESHER_HTTP_PORT', 'MESHER_WS_PORT'],
    doc: 'HTTP and WebSocket port; 0 takes a free one',
  },
  {
    key: 'peerHost',
    flag: 'peer-host',
    kind: 'text',
    default: '127.0.0.1',
    doc: 'where peers connect (TCP and UDP); other than loopback needs a cookie',
  },
  {
    key: 'peerPort',
    flag: 'peer-port',
    kind: 'integer',
    min: 0,
    max: 65_535,
    default: 6745,
    older: ['COMMY_LISTEN_PORT'],
    doc: 'peer port; 0 takes a free one',
  },
  {
    key: 'advertise',
    flag: 'advertise',
    kind: 'text',
    doc: 'host that other nodes use for this one, when it differs from --peer-host',
  },
  {
    key: 'peers',
    flag: 'peer',
    aliases: ['cluster-peers'],
    kind: 'list',
    default: [],
    older: ['MESHER_PEERS', 'COMMY_CLUSTER_NODES'],
    doc: 'nodes to join through: host:port, id:host:port or name@host:port; may be repeated or joined by commas',
  },
  {
    key: 'cookie',
    flag: 'cookie',
    kind: 'text',
    older: ['MESHER_COOKIE'],
    isSecret: true,
    doc: 'shared secret of the cluster; without one, the nodes of a host share a generated file',
  },
  {
    key: 'cookieFile',
    flag: 'cookie-file',
    kind: 'text',
    doc: 'file with the cookie, readable by its owner only',
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
    older: ['ORIONIS_DATA_DIR'],
    doc: 'directory of this node alone; default .skein/node-<peer port>',
  },
  {
    key: 'store',
    flag: 'store',
    kind: 'text',
    doc: 'where the cluster keeps its truth: sqlite:PATH, shared by the nodes of one host; default store.db beside the data directory',
  },
  {
    key: 'journal',
    flag: 'journal',
    kind: 'text',
    doc: 'where events are kept: sqlite:DIRECTORY, shared by the nodes of one host; default journal/ beside the data directory',
  },
  {
    key: 'shards',
    flag: 'shards',
    kind: 'integer',
    min: 1,
    max: 4_096,
    default: 256,
    doc: 'slices of the key space; fixed when the cluster is first started. Too few: coarse balance; too many: more work at each take-over',
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
    doc: 'worker owns shards and may lead; replica only serves reads; standby takes nothing',
  },
  {
    key: 'services',
    flag: 'service',
    kind: 'list',
    default: [],
    doc: 'names of services that this node offers; may be repeated',
  },
  {
    key: 'maxAgents',
    flag: 'max-agents',
    kind: 'integer',
    min: 0,
    max: 1_000_000,
    default: 0,
    doc: 'agents this node takes at most',
  },
  { key: 'zone', flag: 'zone', kind: 'text', default: '', doc: 'failure zone; shards are spread over zones' },
  { key: 'region', flag: 'region', kind: 'text', default: '', doc: 'region' },
  { key: 'labels', flag: 'label', kind: 'labels', default: {}, doc: 'k=v, may be repeated' },
  {
    key: 'allowedOrigins',
    flag: 'allowed-origin',
    kind: 'list',
    default: [],
    doc: 'browser origins beside the node’s own that may write',
  },
  {
    key: 'allowedHosts',
    flag: 'allowed-host',
    kind: 'list',
    default: [],
    doc: 'host names under which this node is reached, beside its addresses',
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
    doc: 'json lines, or one readable line each',
  },
  {
    key: 'drainDeadlineMs',
    flag: 'drain-deadline-ms',
    kind: 'integer',
    min: 0,
    max: 3_600_000,
    default: 30_000,
    doc: 'how long a stopping node may take to hand over, ms. Shorter: successors wait for the seal instead',
  },
]
