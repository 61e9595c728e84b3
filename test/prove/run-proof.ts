/** Proofs as tests: the same command that a person would give. */
import { spawn } from 'node:child_process'
import { resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../..')

/** Runs one proof as a user would; the figures are printed, the promises are judged. */
export async function prove(name: string, ...args: string[]): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', `tools/prove/${name}.ts`, ...args], {
    cwd: root,
    env: { ...process.env, PROVE_TIMES: 'off' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += String(chunk)))
  const code = await new Promise<number | null>((done) => child.once('exit', done))
  if (said.includes('SKIPPED'))
    console.warn(
      said
        .split('\n')
        .filter((line) => line.includes('SKIPPED'))
        .join('\n'),
    )
  return { code, said }
}
