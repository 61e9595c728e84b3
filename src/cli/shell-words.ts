/** A line as a shell would take it apart: blanks, quotes and backslashes; nothing is expanded. */

/** The words, and whether the line ends inside or right behind the last one (else a new one begins at the cursor). */
export function shellWords(line: string): { readonly words: readonly string[]; readonly isOpen: boolean } {
  const words: string[] = []
  let word: string | undefined
  let quote = ''
  for (let at = 0; at < line.length; at++) {
    const character = line[at] as string
    if (quote === "'" && character !== "'") word = (word ?? '') + character
    else if (character === '\\' && at + 1 < line.length) word = (word ?? '') + (line[++at] as string)
    else if (quote !== '' && character === quote) quote = ''
    else if (quote === '' && (character === "'" || character === '"')) {
      quote = character
      word ??= ''
    } else if (quote === '' && /\s/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else word = (word ?? '') + character
  }
  if (word !== undefined) words.push(word)
  return { words, isOpen: word !== undefined }
}
