/**
 * Sealed datagrams: version (1 byte), the sender's salt (8 bytes, random per boot), counter (8 bytes), then AES-256-GCM
 * over the rest with all of the header authenticated. The key is derived from cookie and salt, the nonce is the end of
 * the salt and the counter, so none is ever used twice. Nothing is read of a datagram that was not sealed with a cookie
 * of ours, and none is let through twice.
 *
 * A receiver that has just started has seen no counters yet: a recorded datagram of a boot that still runs may pass
 * once. Messages must bear that, as they must bear duplicates anyway.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { datagramKey } from '../../engines/mesh/keys.js'

const version = 1
const saltBytes = 8
const headerBytes = 1 + saltBytes + 8
const nonceFrom = headerBytes - 12
const tagBytes = 16
export const sealBytes = headerBytes + tagBytes
const algorithm = 'aes-256-gcm'
const sendersMax = 8_192
/** Counters this far behind the newest are still accepted, once. */
const windowSize = 2_048
/** Salts seen for the first time cost a key derivation per cookie: strangers may cause only so many a second. */
const newSaltsPerSecondMax = 1_000

export class Sealer {
  readonly salt = randomBytes(saltBytes)
  private readonly key: Buffer
  private counter = 0

  constructor(cookie: Uint8Array) {
    this.key = datagramKey(cookie, this.salt)
  }

  seal(plain: Uint8Array): Buffer {
    const sealed = Buffer.allocUnsafe(headerBytes + plain.length + tagBytes)
    sealed[0] = version
    this.salt.copy(sealed, 1)
    const counter = ++this.counter
    sealed.writeUInt32BE(Math.floor(counter / 0x1_0000_0000), 1 + saltBytes)
    sealed.writeUInt32BE(counter >>> 0, 5 + saltBytes)
    const header = sealed.subarray(0, headerBytes)
    const cipher = createCipheriv(algorithm, this.key, sealed.subarray(nonceFrom, headerBytes))
    cipher.setAAD(header)
    cipher.update(plain).copy(sealed, headerBytes)
    cipher.final()
    cipher.getAuthTag().copy(sealed, headerBytes + plain.length)
    return sealed
  }
}

interface Sender {
  readonly cookie: Uint8Array
  readonly key: Buffer
  readonly window: ReplayWindow
}

export class Opener {
  private cookies: readonly Uint8Array[]
  private readonly ownSalts = new Set<string>()
  /** In the order of their last datagram. */
  private readonly senders = new Map<string, Sender>()
  private newSalts = 0
  private newSaltsSinceMs = 0

  /** `ownSalt`: what we sealed ourselves and somebody sent back is not let in. */
  constructor(cookies: readonly Uint8Array[], ownSalt: Buffer) {
    this.cookies = cookies
    this.ownSalts.add(ownSalt.toString('latin1'))
  }

  /** Senders whose cookie is not among these any more are strangers from now on. */
  rekey(cookies: readonly Uint8Array[], ownSalt: Buffer): void {
    this.cookies = cookies
    this.ownSalts.add(ownSalt.toString('latin1'))
    for (const [salt, { cookie }] of this.senders) {
      if (!cookies.some((each) => isSame(each, cookie))) this.senders.delete(salt)
    }
  }

  /** The plain datagram, or undefined for whatever is not one, not for us, or not new. Never throws. */
  open(sealed: Buffer, nowMs: number): Buffer | undefined {
    if (sealed.length < sealBytes || sealed[0] !== version) return undefined
    const high = sealed.readUInt32BE(1 + saltBytes)
    if (high > 0x1f_ffff) return undefined
    const counter = high * 0x1_0000_0000 + sealed.readUInt32BE(5 + saltBytes)
    const salt = sealed.toString('latin1', 1, 1 + saltBytes)
    const known = this.senders.get(salt)
    if (known === undefined) return this.openFirst(sealed, salt, counter, nowMs)
    if (!known.window.isNew(counter)) return undefined
    const plain = decrypt(sealed, known.key)
    if (plain === undefined) return undefined
    known.window.see(counter)
    this.senders.delete(salt)
    this.senders.set(salt, known)
    return plain
  }

  private openFirst(sealed: Buffer, salt: string, counter: number, nowMs: number): Buffer | undefined {
    if (this.ownSalts.has(salt) || !this.mayDerive(nowMs)) return undefined
    for (const cookie of this.cookies) {
      const key = datagramKey(cookie, sealed.subarray(1, 1 + saltBytes))
      const plain = decrypt(sealed, key)
      if (plain === undefined) continue
      const window = new ReplayWindow(counter)
      if (this.senders.size >= sendersMax) this.senders.delete(this.senders.keys().next().value as string)
      this.senders.set(salt, { cookie, key, window })
      return plain
    }
    return undefined
  }

  private mayDerive(nowMs: number): boolean {
    if (nowMs - this.newSaltsSinceMs >= 1_000) {
      this.newSaltsSinceMs = nowMs
      this.newSalts = 0
    }
    return ++this.newSalts <= newSaltsPerSecondMax
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** Which of the newest counters were seen: a bit each, in a ring. */
export class ReplayWindow {
  private newest: number
  private readonly seen = new Uint32Array(windowSize / 32)

  constructor(first: number) {
    this.newest = first
    this.mark(first)
  }

  isNew(counter: number): boolean {
    if (counter > this.newest) return true
    if (this.newest - counter >= windowSize) return false
    const bit = counter % windowSize
    return ((this.seen[bit >>> 5] as number) & (1 << (bit & 31))) === 0
  }

  see(counter: number): void {
    if (counter - this.newest >= windowSize) this.seen.fill(0)
    else for (let c = this.newest + 1; c < counter; c++) this.unmark(c)
    if (counter > this.newest) this.newest = counter
    this.mark(counter)
  }

  private mark(counter: number): void {
    const bit = counter % windowSize
    this.seen[bit >>> 5] = (this.seen[bit >>> 5] as number) | (1 << (bit & 31))
  }

  private unmark(counter: number): void {
    const bit = counter % windowSize
    this.seen[bit >>> 5] = (this.seen[bit >>> 5] as number) & ~(1 << (bit & 31))
  }
}

function decrypt(sealed: Buffer, key: Buffer): Buffer | undefined {
  try {
    const decipher = createDecipheriv(algorithm, key, sealed.subarray(nonceFrom, headerBytes), {
      authTagLength: tagBytes,
    })
    decipher.setAAD(sealed.subarray(0, headerBytes))
    decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
    const plain = decipher.update(sealed.subarray(headerBytes, sealed.length - tagBytes))
    decipher.final()
    return plain
  } catch {
    // The only failure there is: it was not sealed with this key.
    return undefined
  }
}
