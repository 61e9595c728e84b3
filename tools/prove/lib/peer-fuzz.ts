/**
 * Wrong bytes at the peer port, TCP and UDP, from two kinds of people: strangers, who can only send again what they saw, made wrong; and somebody
 * who has what a member has, whose frames and datagrams are opened before they are found to be wrong.
 */
import { randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import type { Random } from '../../../src/core/kernel/random.js'
import { FrameDecoder, frameKinds } from '../../../src/core/wire/frame.js'
import { Sealer } from '../../../src/drivers/transport-tcp/seal.js'
import { controlTypes } from '../../../src/engines/mesh/greeting.js'
import { sleep } from './cluster.js'
import { type GuardedCluster, type GuardedNode, peerPort } from './guarded-cluster.js'
import { type Credentials, MemberClient, strangerSays } from './member-client.js'
import type { Mutator } from './mutate.js'
import type { RecordedFrame, Wiretap } from './wiretap.js'

/** Of all frames. */
const shares = { inside: 0.45, insideDatagrams: 0.25, outsideDatagrams: 0.25, outside: 0.05 }
const framesPerSession = 400
const datagramsAtOnce = 20
/** A receiver's buffer holds so many; what it drops would prove nothing. */
const datagramsEveryMs = 5
const datagramBytesMax = 60_000
const framesPerWrite = 10
/** Strangers come from so many addresses, so that the limit of one does not hold the others back. */
const strangers = 50
const strangersFrom = 200

export interface Corpus {
  readonly frames: readonly RecordedFrame[]
  /** Opened, and as they went over the wire. */
  readonly datagrams: readonly Buffer[]
}

export class PeerFuzz {
  readonly counts = {
    inside: 0,
    insideDatagrams: 0,
    outside: 0,
    outsideDatagrams: 0,
    sessions: 0,
    thrownOut: 0,
  }
  onAnswer: (where: string, bytes: Buffer) => void = () => {}
  private readonly cluster: GuardedCluster
  private readonly random: Random
  private readonly mutator: Mutator
  private readonly corpus: Corpus
  private readonly tap: Wiretap
  private readonly credentials: Credentials
  private readonly sealer: Sealer
  private readonly udp: Socket

  constructor(parts: {
    readonly cluster: GuardedCluster
    readonly random: Random
    readonly mutator: Mutator
    readonly corpus: Corpus
    /** Of the cluster itself: what strangers saw. */
    readonly tap: Wiretap
    readonly credentials: Credentials
    /** What datagrams are sealed with. */
    readonly secret: Uint8Array
  }) {
    this.cluster = parts.cluster
    this.random = parts.random
    this.mutator = parts.mutator
    this.corpus = parts.corpus
    this.tap = parts.tap
    this.credentials = parts.credentials
    this.sealer = new Sealer(parts.secret)
    this.udp = createSocket('udp4')
    this.udp.bind(0, this.cluster.address(strangersFrom))
    this.udp.on('message', (bytes) => this.onAnswer('a datagram', bytes))
    this.udp.on('error', () => {
      // A full buffer; that one is lost.
    })
  }

  get total(): number {
    const { inside, insideDatagrams, outside, outsideDatagrams } = this.counts
    return inside + insideDatagrams + outside + outsideDatagrams
  }

  /** So many more, of each kind its share; or without an end. Everything at once, until `isOver`. */
  async run(framesWanted: number, isOver: () => boolean): Promise<void> {
    const { counts } = this
    const loop = async (kind: keyof typeof shares, work: (isEnough: () => boolean) => Promise<void>) => {
      const end = counts[kind] + framesWanted * shares[kind]
      const isEnough = (): boolean => isOver() || counts[kind] >= end
      while (!isEnough()) await work(isEnough)
    }
    await Promise.all([
      ...Array.from({ length: 4 }, () => loop('inside', (isEnough) => this.session(isEnough))),
      loop('insideDatagrams', () => this.sealedDatagrams()),
      loop('outsideDatagrams', () => this.strangeDatagrams()),
      ...Array.from({ length: 4 }, () => loop('outside', () => this.stranger())),
    ])
  }

  close(): void {
    this.udp.close()
  }

  private node(): GuardedNode {
    return this.random.pick(this.cluster.nodes) as GuardedNode
  }

  private frame(): RecordedFrame {
    return this.random.pick(this.corpus.frames) as RecordedFrame
  }

  /** One connection of a member, until it is thrown out or has said enough. */
  private async session(isEnough: () => boolean): Promise<void> {
    const { random, counts } = this
    const node = this.node()
    const way = random.chance(0.6) ? 'mesh' : 'control'
    const from = this.cluster.address(strangersFrom + random.below(strangers))
    const client = await MemberClient.connect(node.inside, this.tap.portOf(node, way), from, this.credentials)
    if (client === undefined) return
    counts.sessions++
    const decoder = new FrameDecoder({
      takeFrame: (_kind, type, _id, body) => this.onAnswer(`a frame of type ${type}`, Buffer.from(body)),
    })
    client.onData = (bytes) => void decoder.push(Buffer.from(bytes))
    await client.greet(this.hello())
    const ofThisWay = this.corpus.frames.filter((frame) => frame.way === way)
    for (let i = 0; i < framesPerSession && client.isOpen && !isEnough(); i += framesPerWrite) {
      const frames = Array.from({ length: framesPerWrite }, () =>
        this.mutator.frame(random.pick(ofThisWay) as RecordedFrame, this.frame()),
      )
      counts.inside += frames.length
      await client.say(Buffer.concat(frames))
      // The other end is another process: let it read and answer.
      await new Promise((done) => setImmediate(done))
    }
    if (!client.isOpen) counts.thrownOut++
    await client.end()
  }

  /** Mostly in order: what comes after it is to be heard. */
  private hello(): unknown {
    const { random } = this
    if (random.chance(0.05)) return this.stolenHello()
    const hello = {
      clusterName: 'guarded',
      nodeId: 'hostile',
      bootId: randomBytes(8).toString('hex'),
      address: `${this.cluster.address(strangersFrom)}:${1 + random.below(60_000)}`,
      protocolMin: 1,
      protocolMax: 1,
      storeIdentity: '',
      journalIdentity: '',
      requestsMax: 1_024,
      requestBytesMax: 8_388_608,
    }
    if (random.chance(0.9)) return hello
    const name = random.pick(Object.keys(hello)) as string
    return {
      ...hello,
      [name]: random.pick([null, '', -1, 2 ** 53, 'x'.repeat(300), 'node-1', 'node-2', [], {}]),
    }
  }

  /** Somebody else's, word for word. */
  private stolenHello(): unknown {
    const { hello } = controlTypes
    const hellos = this.corpus.frames.filter(
      ({ kind, type }) => kind === frameKinds.control && type === hello,
    )
    return JSON.parse(String(this.random.pick(hellos)?.body ?? '{}'))
  }

  private async sealedDatagrams(): Promise<void> {
    for (let i = 0; i < datagramsAtOnce; i++) {
      this.counts.insideDatagrams++
      const plain = this.mutator.membership(this.random.pick(this.corpus.datagrams) as Buffer)
      await this.send(this.sealer.seal(plain.subarray(0, datagramBytesMax)))
    }
    await sleep(datagramsEveryMs)
  }

  private async strangeDatagrams(): Promise<void> {
    const { random, mutator } = this
    const seen = (): Buffer => random.pick(this.tap.datagrams)?.bytes ?? Buffer.alloc(60)
    for (let i = 0; i < datagramsAtOnce; i++) {
      this.counts.outsideDatagrams++
      await this.send(random.chance(0.1) ? mutator.garbage(1_500) : mutator.bytes(seen(), seen()))
    }
    await sleep(datagramsEveryMs)
  }

  private send(bytes: Uint8Array): Promise<void> {
    return new Promise((sent) => this.udp.send(bytes, peerPort, this.node().inside, () => sent()))
  }

  /** What a dialling node said first, made wrong; or nothing that anybody ever said. */
  private async stranger(): Promise<void> {
    const { random, counts, mutator } = this
    const node = this.node()
    const stream = random.pick(this.tap.streams)
    const said = stream?.chunks.filter(({ isOfDialler }) => isOfDialler).map(({ bytes }) => bytes) ?? []
    counts.outside++
    const whole = Buffer.concat(said.slice(0, 1 + random.below(4)))
    const bytes = random.chance(0.2) ? mutator.garbage(3_000) : mutator.bytes(whole, whole)
    const from = this.cluster.address(strangersFrom + random.below(strangers))
    const port = this.tap.portOf(node, random.chance(0.5) ? 'mesh' : 'control')
    this.onAnswer('the answer to a stranger', await strangerSays(node.inside, port, from, bytes, 250))
  }
}
