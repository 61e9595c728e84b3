/** Keys from the cookie (HKDF-SHA256, one label per use). The cookie itself is never sent; a short public id says which one of two is meant. */
import { createHmac, hkdfSync } from 'node:crypto'

export interface CookieKey {
  /** Tells two cookies apart during a rotation; reveals nothing of them. */
  readonly id: string
  readonly psk: Buffer
  readonly cookie: Uint8Array
}

export function cookieKeys(cookies: readonly Uint8Array[]): CookieKey[] {
  return cookies.map((cookie) => ({
    id: createHmac('sha256', cookie).update('skein cookie id').digest('hex').slice(0, 16),
    psk: Buffer.from(hkdfSync('sha256', cookie, '', 'skein tls psk', 32)),
    cookie,
  }))
}

/** A key per sender and boot: nonces never repeat under it. */
export function datagramKey(cookie: Uint8Array, salt: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', cookie, salt, 'skein datagram', 32))
}
