/** What names, ids and lists of rooms must look like; one place for library and sockets. */
import { SkeinError } from '../../core/kernel/error.js'

export const roomLimits = {
  roomCharsMax: 256,
  idCharsMax: 64,
  exceptMax: 1_000,
  /** Of one message, as JSON. */
  dataBytesMax: 262_144,
  roomsPerClientMax: 100,
  roomsPerNodeMax: 50_000,
  userCharsMax: 128,
  prefixCharsMax: 256,
} as const

const control = /\p{Cc}|\p{Surrogate}/u
const idPattern = /^[\x21-\x7e]{1,64}$/

/** Throws `invalid_argument`. */
export function checkRoom(room: unknown): asserts room is string {
  if (typeof room !== 'string' || room === '' || room.length > roomLimits.roomCharsMax || control.test(room))
    throw wrong('room', room, `1 to ${roomLimits.roomCharsMax} characters, none of them a control character`)
}

export function checkUser(user: unknown): asserts user is string {
  if (typeof user !== 'string' || user === '' || user.length > roomLimits.userCharsMax || control.test(user))
    throw wrong('user', user, `1 to ${roomLimits.userCharsMax} characters, none of them a control character`)
}

export function checkMessageId(id: unknown): asserts id is string {
  if (typeof id !== 'string' || !idPattern.test(id)) throw wrong('id', id, '1 to 64 visible ASCII characters')
}

export function checkExcept(except: unknown): asserts except is readonly string[] {
  const isGood =
    Array.isArray(except) &&
    except.length <= roomLimits.exceptMax &&
    except.every((each) => typeof each === 'string' && each.length <= 64)
  if (!isGood) throw wrong('except', except, `a list of at most ${roomLimits.exceptMax} sessions`)
}

export function checkBytes(bytes: number): void {
  if (bytes > roomLimits.dataBytesMax)
    throw new SkeinError(
      'payload_too_large',
      `data of ${bytes} bytes; at most ${roomLimits.dataBytesMax} are allowed`,
      { details: { field: 'data' } },
    )
}

function wrong(field: string, given: unknown, allowed: string): SkeinError {
  const shown =
    given === undefined ? 'nothing' : JSON.stringify(typeof given === 'string' ? given.slice(0, 64) : given)
  return new SkeinError('invalid_argument', `${field}: got ${shown}, allowed is ${allowed}`, {
    details: { field, allowed },
  })
}
