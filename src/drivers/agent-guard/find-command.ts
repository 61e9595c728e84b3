/** Looks for what is to be started before anything is started, so that a mistake is named and not guessed from an exit code. */
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'

/** What keeps a command from being started. */
export class CannotStart extends Error {}

/** The file of a command. Relative paths count from `cwd`. Throws `CannotStart`. */
export async function findCommand(command: string, path: string, cwd: string): Promise<string> {
  const directory = await stat(cwd).catch(() => undefined)
  if (directory?.isDirectory() !== true) throw new CannotStart(`cwd "${cwd}" is not a directory`)
  if (command.includes('/')) {
    const file = resolve(cwd, command)
    const why = await whyNotExecutable(file)
    if (why !== undefined) throw new CannotStart(`command "${command}": ${file} ${why}`)
    return file
  }
  for (const place of path.split(delimiter).filter((entry) => entry !== '')) {
    const file = join(resolve(cwd, place), command)
    if ((await whyNotExecutable(file)) === undefined) return file
  }
  throw new CannotStart(`command "${command}" is not in the PATH (${path})`)
}

async function whyNotExecutable(file: string): Promise<string | undefined> {
  const found = await stat(file).catch(() => undefined)
  if (found === undefined) return 'does not exist'
  if (!found.isFile()) return 'is not a file'
  const isAllowed = await access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
  return isAllowed ? undefined : 'is not executable'
}
