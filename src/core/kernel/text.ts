/**
 * UTF-8 and JSON values for the core, which has neither TextEncoder nor Buffer. Store values are small, so plain loops
 * are fast enough.
 */
export function utf8Encode(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Length(text))
  utf8Write(text, bytes, 0)
  return bytes
}

export function utf8Length(text: string): number {
  let length = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) length += 1
    else if (unit < 0x800) length += 2
    else if (isHighSurrogate(unit) && isLowSurrogate(text.charCodeAt(i + 1))) {
      length += 4
      i++
    } else length += 3
  }
  return length
}

/** Writes and returns the position after. A lone surrogate becomes U+FFFD. */
export function utf8Write(text: string, into: Uint8Array, at: number): number {
  let p = at
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i)
    if (code < 0x80) {
      into[p++] = code
      continue
    }
    if (isHighSurrogate(code) && isLowSurrogate(text.charCodeAt(i + 1))) {
      code = 0x10000 + ((code - 0xd800) << 10) + (text.charCodeAt(++i) - 0xdc00)
    } else if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd
    if (code < 0x800) into[p++] = 0xc0 | (code >> 6)
    else {
      if (code < 0x10000) into[p++] = 0xe0 | (code >> 12)
      else {
        into[p++] = 0xf0 | (code >> 18)
        into[p++] = 0x80 | ((code >> 12) & 0x3f)
      }
      into[p++] = 0x80 | ((code >> 6) & 0x3f)
    }
    into[p++] = 0x80 | (code & 0x3f)
  }
  return p
}

/** Malformed sequences become U+FFFD; never throws. */
export function utf8Decode(bytes: Uint8Array, from = 0, to = bytes.length): string {
  let text = ''
  let i = from
  while (i < to) {
    const b = bytes[i++] as number
    if (b < 0x80) {
      text += String.fromCharCode(b)
      continue
    }
    const extra = b >= 0xf0 && b < 0xf5 ? 3 : b >= 0xe0 ? 2 : b >= 0xc2 ? 1 : 0
    let code = extra === 3 ? b & 0x07 : extra === 2 ? b & 0x0f : b & 0x1f
    let ok = extra > 0 && b < 0xf5 && i + extra <= to
    for (let k = 0; ok && k < extra; k++) {
      const c = bytes[i + k] as number
      if ((c & 0xc0) !== 0x80) ok = false
      code = (code << 6) | (c & 0x3f)
    }
    const low = extra === 3 ? 0x10000 : extra === 2 ? 0x800 : 0x80
    if (!ok || code < low || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      text += '\ufffd'
      continue
    }
    i += extra
    text += String.fromCodePoint(code)
  }
  return text
}

export function jsonEncode(value: unknown): Uint8Array {
  return utf8Encode(JSON.stringify(value))
}

/** Undefined for anything that is not JSON: what is in the store may have been written by somebody else. */
export function jsonDecode(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8Decode(bytes))
  } catch {
    return undefined
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}
