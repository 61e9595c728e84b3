/**
 * As little of an etcd client as it takes to measure etcd's own election: campaign, resign, observe, leases, puts, and who leads its Raft. Over
 * gRPC, one member a client, no retries: what a call takes is what etcd takes.
 */
import * as grpc from '@grpc/grpc-js'
import protobuf from 'protobufjs'

const proto = `
syntax = "proto3";
message Header { uint64 cluster_id = 1; uint64 member_id = 2; int64 revision = 3; }
message LeaderKey { bytes name = 1; bytes key = 2; int64 rev = 3; int64 lease = 4; }
message CampaignRequest { bytes name = 1; int64 lease = 2; bytes value = 3; }
message CampaignResponse { Header header = 1; LeaderKey leader = 2; }
message ResignRequest { LeaderKey leader = 1; }
message LeaderRequest { bytes name = 1; }
message KeyValue { bytes key = 1; int64 create_revision = 2; int64 mod_revision = 3; int64 version = 4; bytes value = 5; }
message LeaderResponse { Header header = 1; KeyValue kv = 2; }
message GrantRequest { int64 ttl = 1; int64 id = 2; }
message GrantResponse { Header header = 1; int64 id = 2; int64 ttl = 3; string error = 4; }
message KeepAlive { int64 id = 1; }
message KeepAliveResponse { Header header = 1; int64 id = 2; int64 ttl = 3; }
message PutRequest { bytes key = 1; bytes value = 2; int64 lease = 3; }
message Empty {}
message StatusResponse { Header header = 1; string version = 2; int64 db_size = 3; uint64 leader = 4; }
`
const root = protobuf.parse(proto).root
/** Long enough for a campaign that waits for its turn. */
const waitMsMax = 60_000
const callMsMax = 5_000

type Fields = Record<string, unknown>

interface Method {
  readonly path: string
  readonly ask: string
  readonly answer: string
}

const methods = {
  campaign: { path: '/v3electionpb.Election/Campaign', ask: 'CampaignRequest', answer: 'CampaignResponse' },
  resign: { path: '/v3electionpb.Election/Resign', ask: 'ResignRequest', answer: 'Empty' },
  observe: { path: '/v3electionpb.Election/Observe', ask: 'LeaderRequest', answer: 'LeaderResponse' },
  grant: { path: '/etcdserverpb.Lease/LeaseGrant', ask: 'GrantRequest', answer: 'GrantResponse' },
  keepAlive: { path: '/etcdserverpb.Lease/LeaseKeepAlive', ask: 'KeepAlive', answer: 'KeepAliveResponse' },
  put: { path: '/etcdserverpb.KV/Put', ask: 'PutRequest', answer: 'Empty' },
  status: { path: '/etcdserverpb.Maintenance/Status', ask: 'Empty', answer: 'StatusResponse' },
} as const satisfies Record<string, Method>

/** What proves that one leads: handed back to resign. */
export type Seat = Fields

export class EtcdPeer {
  private readonly client: grpc.Client

  constructor(endpoint: string) {
    this.client = new grpc.Client(endpoint, grpc.credentials.createInsecure(), {
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 100,
    })
  }

  /** Resolves when this one leads. */
  async campaign(name: string, lease: string, value: string): Promise<Seat> {
    const ask = { name: Buffer.from(name), lease, value: Buffer.from(value) }
    return (await this.call(methods.campaign, ask, waitMsMax)).leader as Seat
  }

  async resign(leader: Seat): Promise<void> {
    await this.call(methods.resign, { leader }, callMsMax)
  }

  /** Whoever leads, now and from now on. Returns how to stop. */
  observe(name: string, onLeader: (value: string) => void): () => void {
    const { path, ask, answer } = methods.observe
    const stream = this.client.makeServerStreamRequest(path, encoder(ask), decoder(answer), {
      name: Buffer.from(name),
    })
    stream.on('data', ({ kv }: { kv: { value: Buffer } }) => onLeader(String(kv.value)))
    // Ended by us, or its member was killed.
    stream.on('error', () => {})
    return () => stream.cancel()
  }

  /** Lives for that long, and on as long as it is kept alive three times in that time, as etcd's own clients do. */
  async lease(ttlS: number): Promise<{ readonly id: string; stop(): void }> {
    const id = String((await this.call(methods.grant, { ttl: ttlS }, callMsMax)).id)
    const { path, ask, answer } = methods.keepAlive
    const stream = this.client.makeBidiStreamRequest(path, encoder(ask), decoder(answer))
    stream.on('data', () => {})
    stream.on('error', () => {})
    const timer = setInterval(() => stream.write({ id }), (ttlS * 1_000) / 3)
    return {
      id,
      stop() {
        clearInterval(timer)
        stream.cancel()
      },
    }
  }

  async put(key: string, timeoutMs = callMsMax): Promise<void> {
    await this.call(methods.put, { key: Buffer.from(key), value: Buffer.from('x') }, timeoutMs)
  }

  /** Whether this member leads the Raft of all. */
  async isRaftLeader(): Promise<boolean> {
    const { header, leader } = await this.call(methods.status, {}, callMsMax)
    return String((header as Fields).memberId) === String(leader)
  }

  close(): void {
    this.client.close()
  }

  private call({ path, ask, answer }: Method, fields: Fields, timeoutMs: number): Promise<Fields> {
    return new Promise((done, failed) => {
      this.client.makeUnaryRequest(
        path,
        encoder(ask),
        decoder(answer),
        fields,
        { deadline: Date.now() + timeoutMs },
        (error, value) => {
          if (error === null) done(value as Fields)
          else failed(error)
        },
      )
    })
  }
}

function encoder(name: string): (fields: Fields) => Buffer {
  const type = root.lookupType(name)
  return (fields) => Buffer.from(type.encode(type.fromObject(fields)).finish())
}

function decoder(name: string): (bytes: Buffer) => Fields {
  const type = root.lookupType(name)
  return (bytes) => type.toObject(type.decode(bytes), { longs: String })
}
