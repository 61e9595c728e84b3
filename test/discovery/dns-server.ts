/** A name server on loopback with records that a test changes as it goes. */
import { createSocket, type Socket } from 'node:dgram'
import { type Answer, AUTHORITATIVE_ANSWER, decode, encode } from 'dns-packet'

export class DnsServer {
  private readonly socket: Socket = createSocket('udp4')
  records: Answer[] = []
  /** Answer with this code instead; 2 is SERVFAIL, 3 says that the name is not there. */
  failWith = 0
  asked = 0

  async start(): Promise<string> {
    this.socket.on('message', (bytes, from) => {
      this.asked++
      const { id, questions = [] } = decode(bytes)
      const answers = this.records.filter((r) =>
        questions.some((q) => q.name === r.name && q.type === r.type),
      )
      const flags = AUTHORITATIVE_ANSWER | this.failWith
      const reply = encode({
        type: 'response',
        id,
        flags,
        questions,
        answers: this.failWith === 0 ? answers : [],
      })
      this.socket.send(reply, from.port, from.address)
    })
    await new Promise<void>((done) => this.socket.bind(0, '127.0.0.1', done))
    return `127.0.0.1:${this.socket.address().port}`
  }

  async stop(): Promise<void> {
    await new Promise<void>((done) => this.socket.close(done))
  }
}
