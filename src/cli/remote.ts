/** What every command that talks to a node has in common: its options, and numbers given as text. */
import { Option } from 'commander'
import type { ClientOptions, TlsFiles } from './client.js'
import { defaultAddr, type SkeinCommand, withJson } from './command.js'
import { CliFailure, exitCodes } from './exit.js'

export interface RemoteOptions extends TlsFiles {
  readonly addr: string
  readonly token?: string
  readonly json?: boolean
}

/** Of commands that may go on with another node when one does not answer. */
export interface RemoteManyOptions extends TlsFiles {
  readonly addr?: readonly string[]
  readonly token?: string
  readonly json?: boolean
}

const connection = 'Connection:'

export function remote(command: SkeinCommand): SkeinCommand {
  command.addOption(
    new Option(
      '--addr <host:port>',
      'node to ask; several joined by commas: the next when one cannot be reached',
    )
      .default(defaultAddr)
      .env('SKEIN_ADDR')
      .helpGroup(connection),
  )
  return tokenAndJson(command)
}

/** For commands that may go on with another node when one does not answer. */
export function remoteMany(command: SkeinCommand): SkeinCommand {
  command.addOption(
    new Option(
      '--addr <host:port>',
      `node to ask; repeated or joined by commas: the next is tried when one fails (default: "${defaultAddr}")`,
    )
      .argParser((text: string, before: readonly string[] | undefined) => [
        ...(before ?? []),
        ...text.split(','),
      ])
      .env('SKEIN_ADDR')
      .helpGroup(connection),
  )
  return tokenAndJson(command)
}

export function addressesOf(addr: readonly string[] | undefined): readonly string[] {
  return addr ?? [defaultAddr]
}

export function clientOf({ addr, token, ...o }: RemoteOptions): ClientOptions {
  return { addr, token, tls: tlsOf(o) }
}

export function tlsOf({ tlsCa, tlsCert, tlsKey }: TlsFiles): TlsFiles {
  return { tlsCa, tlsCert, tlsKey }
}

export function whole(flag: string, text: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new CliFailure(
    exitCodes.usage,
    `${flag}: a whole number from ${min} to ${max} expected, got "${text}"`,
  )
}

/** JSON, or the word itself where it is none: what people type for a value. */
export function jsonOrText(word: string): unknown {
  try {
    return JSON.parse(word)
  } catch {
    // Not JSON: text as it is.
    return word
  }
}

function tokenAndJson(command: SkeinCommand): SkeinCommand {
  command.reach = 'node'
  for (const [flags, what, variable] of [
    ['--token <token>', 'bearer token', 'SKEIN_TOKEN'],
    ['--tls-ca <file>', 'authority to trust at an https:// address', 'SKEIN_TLS_CA'],
    ['--tls-cert <file>', 'certificate to show there instead of a token', 'SKEIN_TLS_CERT'],
    ['--tls-key <file>', 'its key', 'SKEIN_TLS_KEY'],
  ] as const)
    command.addOption(new Option(flags, what).env(variable).helpGroup(connection))
  return withJson(command)
}
