/**
 * Keys from the cookie: HKDF-SHA256 with a label for each use. The cookie itself is never sent; a short public id says
 * which one of several is meant while cookies are being rotated.
 */
import { createHmac, hkdfSync } from 'node:crypto'
import { SkeinError } from '../../core/kernel/error.js'

export interface CookieKey {
  /** Tells cookies apart. Reveals no more of them than the handshake itself does. */
  readonly id: string
  readonly psk: Buffer
}

/** Throws `bad_cookie` when there is none, or an empty one. */
export function checkCookies(cookies: readonly Uint8Array[]): void {
  if (cookies.length === 0 || cookies.some((cookie) => cookie.length === 0)) {
    throw new SkeinError('bad_cookie', 'a transport needs at least one cookie, and none may be empty')
  }
}

export function cookieKeys(cookies: readonly Uint8Array[]): CookieKey[] {
  checkCookies(cookies)
  return cookies.map((cookie) => ({
    id: createHmac('sha256', cookie).update('skein cookie id').digest('hex').slice(0, 16),
    psk: Buffer.from(hkdfSync('sha256', cookie, '', 'skein tls psk', 32)),
  }))
}

/** Identity that a dialling node shows: which cookie, and who it claims to be (the cookie proves membership only). */
export function pskIdentity(key: CookieKey, nodeId: string): string {
  return `${key.id}:${nodeId}`
}

export function readPskIdentity(identity: string): { keyId: string; nodeId: string } {
  const colon = identity.indexOf(':')
  return colon < 0
    ? { keyId: identity, nodeId: '' }
    : { keyId: identity.slice(0, colon), nodeId: identity.slice(colon + 1, colon + 65) }
}

/** A key per sender's boot: counters start anew with it, so no nonce is used twice under one key. */
export function datagramKey(cookie: Uint8Array, salt: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', cookie, salt, 'skein datagram', 32))
}
