/** `skein completion`: scripts for shells, which ask `skein complete` for what fits. */

import { onThisMachine, type SkeinCommand } from '../command.js'
import { complete } from '../complete.js'
import { CliFailure, exitCodes } from '../exit.js'
import { didYouMean } from '../nearest.js'
import { print, printJson } from '../output.js'
import { shellWords } from '../shell-words.js'

const bash = `# bash completion for skein: source <(skein completion bash)
_skein() {
  local line word
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == ':files' ]]; then
      compopt -o default 2>/dev/null
      return
    fi
    printf -v word '%q' "\${line%%$'\\t'*}"
    COMPREPLY+=("$word")
  done < <(skein complete --line "\${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _skein skein
`

const zsh = `#compdef skein
# zsh completion for skein: source <(skein completion zsh), or as a file _skein in a directory of $fpath
_skein() {
  local -a found
  local line word what
  for line in "\${(@f)$(skein complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
    if [[ $line == ':files' ]]; then
      _files
      return
    fi
    [[ -z $line ]] && continue
    word=\${line%%$'\\t'*}
    what=\${line#*$'\\t'}
    found+=("\${word//:/\\\\:}:$what")
  done
  _describe skein found
}
if [[ \${funcstack[1]} == _skein ]]; then _skein "$@"; else compdef _skein skein; fi
`

const fish = `# fish completion for skein: skein completion fish | source
function __skein_complete
    set -l tokens (commandline -opc)
    set -l found (skein complete -- $tokens[2..] (commandline -ct) 2>/dev/null)
    if test "$found" = ':files'
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c skein -f -a '(__skein_complete)'
`

const scripts: Readonly<Record<string, string>> = { bash, zsh, fish }

export function addCompletion(program: SkeinCommand): void {
  onThisMachine(
    program
      .command('completion <shell>')
      .description('print what makes a shell complete commands, options and names: bash, zsh or fish')
      .details(
        'Names of nodes, agents, rooms and the like come from the node at --addr or SKEIN_ADDR while you type.',
      )
      .names('shell')
      .example('source <(skein completion bash)', 'in ~/.bashrc; the same with zsh in ~/.zshrc')
      .example('skein completion fish > ~/.config/fish/completions/skein.fish', 'for fish'),
  ).action((shell: string, { json }: { readonly json?: boolean }) => {
    const script = scripts[shell]
    if (script === undefined)
      throw new CliFailure(
        exitCodes.usage,
        `one of ${Object.keys(scripts).join(', ')} expected, got "${shell}"`,
        { code: 'usage', hint: didYouMean(shell, Object.keys(scripts)) },
      )
    if (json === true) printJson({ shell, script })
    else print(script.trimEnd())
  })
  onThisMachine(
    program
      .command('complete [words...]', { hidden: true })
      .description('what may stand at the end of these words: one candidate a line, a tab, what it is')
      .option('--line <text>', 'a command line up to the cursor instead, with skein itself')
      .example('skein complete -- nodes dr', 'as the scripts of completion ask'),
  ).action(async (words: readonly string[], o: { readonly line?: string; readonly json?: boolean }) => {
    const found = await complete(program, o.line === undefined ? words : wordsOf(o.line))
    if (o.json === true) printJson(found === 'files' ? { files: true } : { candidates: found })
    else if (found === 'files') print(':files')
    else for (const { word, what } of found) print(`${word}\t${what}`)
  })
}

/** Behind the command's own name. */
function wordsOf(line: string): readonly string[] {
  const { words, isOpen } = shellWords(line)
  return [...words.slice(1), ...(isOpen ? [] : [''])]
}
