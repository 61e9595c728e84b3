/** The whole terminal for a while: another screen buffer, no cursor, keys one by one; and everything given back however the process ends. */

import { sizeOf } from '../output.js'

const csi = '\u001b['
const enter = `${csi}?1049h${csi}?25l`
const leave = `${csi}?25h${csi}?1049l`

const keys: Readonly<Record<string, string>> = {
  '\u001b[A': 'up',
  '\u001b[B': 'down',
  '\u001b[C': 'right',
  '\u001b[D': 'left',
  '\u001bOA': 'up',
  '\u001bOB': 'down',
  '\u001bOC': 'right',
  '\u001bOD': 'left',
  '\t': 'tab',
  '\u001b': 'escape',
  '\u0003': 'ctrl-c',
  '\u001a': 'ctrl-z',
}

export interface ScreenNotes {
  key(name: string): void
  resized(): void
}

export class FullScreen {
  private readonly notes: ScreenNotes
  private isOpen = false
  private readonly onData = (data: Buffer): void => this.received(String(data))
  private readonly onResize = (): void => this.notes.resized()
  private readonly onExit = (): void => this.giveBack()
  private readonly onEnd = (): void => this.notes.key('ctrl-c')
  private readonly onContinue = (): void => {
    this.take()
    this.notes.resized()
  }

  constructor(notes: ScreenNotes) {
    this.notes = notes
  }

  open(): void {
    process.on('exit', this.onExit)
    process.on('SIGCONT', this.onContinue)
    process.stdout.on('resize', this.onResize)
    // Keys come from a terminal only; one that was closed is no reason to go on.
    if (process.stdin.isTTY === true) process.stdin.on('data', this.onData).once('end', this.onEnd)
    this.take()
  }

  close(): void {
    this.giveBack()
    process.off('exit', this.onExit)
    process.off('SIGCONT', this.onContinue)
    process.stdout.off('resize', this.onResize)
    if (process.stdin.isTTY === true) process.stdin.off('data', this.onData).off('end', this.onEnd).pause()
  }

  get size(): { readonly width: number; readonly height: number } {
    const { columns, rows } = sizeOf(process.stdout)
    return { width: columns, height: rows }
  }

  draw(lines: readonly string[]): void {
    if (!this.isOpen) return
    process.stdout.write(`${csi}H${lines.map((line) => `${line}${csi}K`).join('\r\n')}${csi}J`)
  }

  private take(): void {
    if (process.stdin.isTTY === true) process.stdin.setRawMode(true)
    process.stdout.write(enter)
    this.isOpen = true
  }

  private giveBack(): void {
    if (!this.isOpen) return
    this.isOpen = false
    process.stdout.write(leave)
    if (process.stdin.isTTY === true) process.stdin.setRawMode(false)
  }

  /** Several keys may come at once; an escape sequence is one of them. */
  private received(text: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what terminals send
    for (const key of text.match(/\u001b[[O][A-Z]|[\s\S]/g) ?? []) {
      const name = keys[key] ?? key
      if (name === 'ctrl-z') this.suspend()
      else this.notes.key(name)
    }
  }

  private suspend(): void {
    this.giveBack()
    process.kill(process.pid, 'SIGTSTP')
  }
}
