import { describe, expect, it } from 'vitest'
import { isSkeinError } from '../../src/core/kernel/error.js'
import { parseEtcdUrl } from '../../src/engines/etcd/url.js'

describe('the URL of a store on etcd', () => {
  it.each([
    ['etcd://h', { endpoints: ['h:2379'], namespace: 'skein' }],
    ['etcd://h1:1,h2,[::1]:3/', { endpoints: ['h1:1', 'h2:2379', '[::1]:3'], namespace: 'skein' }],
    ['etcd://h/a/b-c', { endpoints: ['h:2379'], namespace: 'a/b-c' }],
    ['etcds://h', { endpoints: ['h:2379'], namespace: 'skein', tls: {} }],
    ['etcd://h?ca=/a%20b', { endpoints: ['h:2379'], namespace: 'skein', tls: { caFile: '/a b' } }],
    [
      'etcds://h?cert=/c&key=/k',
      { endpoints: ['h:2379'], namespace: 'skein', tls: { certFile: '/c', keyFile: '/k' } },
    ],
    ['etcd://u:p%40%3A@h', { endpoints: ['h:2379'], namespace: 'skein', user: 'u', password: 'p@:' }],
    [
      'etcd://u@h/n?password-file=/p',
      { endpoints: ['h:2379'], namespace: 'n', user: 'u', passwordFile: '/p' },
    ],
  ])('understands %s', (url, target) => {
    expect(parseEtcdUrl(url)).toEqual(target)
  })

  it.each([
    ['etcd:h', 'of the form'],
    ['etcd://', 'of the form'],
    ['etcd://h#x', 'of the form'],
    ['etcd://h:0', 'port from 1 to 65535'],
    ['etcd://h:70000', 'port from 1 to 65535'],
    ['etcd://h,', 'the endpoint ""'],
    ['etcd://h,h:2379', 'named twice'],
    [`etcd://${Array.from({ length: 17 }, (_, i) => `h${i}`).join(',')}`, 'at most 16'],
    ['etcd://h/a//b', 'single slashes'],
    ['etcd://h/a:b', 'single slashes'],
    [`etcd://h/${'n'.repeat(97)}`, 'at most 96'],
    ['etcd://h?nope=1', 'there are ca, cert, key, password-file'],
    ['etcd://h?ca=', 'is empty'],
    ['etcd://h?ca=/a&ca=/b', 'given twice'],
    ['etcd://h?cert=/c', 'belong together'],
    ['etcd://u@h', 'no password'],
    ['etcd://:secret@h', 'user before @ is empty'],
    ['etcd://u:secret@h?password-file=/p', 'give one of them'],
    ['etcd://h?password-file=/p', 'needs a user'],
    ['etcd://u:sec%ret@h', 'write % as %25'],
    ['etcd://u:secret/x@h', 'must be escaped'],
    ['etcd://u:secret#x@h', 'must be escaped'],
    ['etcd://u:sec@ret@h', 'must be escaped'],
  ])('refuses %s with words', (url, words) => {
    let refusal: unknown
    try {
      parseEtcdUrl(url)
    } catch (error) {
      refusal = error
    }
    expect(isSkeinError(refusal) && refusal.code).toBe('bad_config')
    const { message, details } = refusal as Error & { details: unknown }
    expect(message).toContain(words)
    expect(message + JSON.stringify(details)).not.toMatch(/secret|sec[%@]ret/)
  })
})
