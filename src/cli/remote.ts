/** What every command that talks to a node has in common: its options, and numbers given as text. */
import type { Command } from 'commander'
import type { ClientOptions, TlsFiles } from './client.js'
import { CliFailure, exitCodes } from './exit.js'

export interface RemoteOptions extends TlsFiles {
  readonly addr: string
  readonly token?: string
  readonly json?: boolean
}

const defaultAddr = '127.0.0.1:8151'

export function remote(command: Command): Command {
  command.option('--addr <host:port>', 'node to ask', process.env.SKEIN_ADDR ?? defaultAddr)
  return tokenAndJson(command)
}

/** For commands that may go on with another node when one does not answer. */
export function remoteMany(command: Command): Command {
  command.option(
    '--addr <host:port>',
    `node to ask; repeated or joined by commas: the next is tried when one fails (default: "${defaultAddr}")`,
    (text: string, before: readonly string[] | undefined) => [...(before ?? []), ...text.split(',')],
  )
  return tokenAndJson(command)
}

export function addressesOf(addr: readonly string[] | undefined): readonly string[] {
  return addr ?? (process.env.SKEIN_ADDR ?? defaultAddr).split(',')
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

function tokenAndJson(command: Command): Command {
  return command
    .option('--token <token>', 'bearer token', process.env.SKEIN_TOKEN)
    .option('--tls-ca <file>', 'authority to trust at an https:// address', process.env.SKEIN_TLS_CA)
    .option('--tls-cert <file>', 'certificate to show there instead of a token', process.env.SKEIN_TLS_CERT)
    .option('--tls-key <file>', 'its key', process.env.SKEIN_TLS_KEY)
    .option('--json', 'print the answer as JSON')
}
