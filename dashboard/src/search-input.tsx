/** A field to search in: tells what was typed once the typing pauses. */
import { useEffect, useRef, useState } from 'preact/hooks'

const searchDelayMs = 150

interface Props {
  readonly label: string
  readonly placeholder: string
  readonly text: string
  readonly onText: (text: string) => void
}

export function SearchInput({ label, placeholder, text, onText }: Props) {
  const [typed, setTyped] = useState(text)
  const timer = useRef<ReturnType<typeof setTimeout>>()
  useEffect(() => setTyped(text), [text])
  useEffect(() => () => clearTimeout(timer.current), [])
  return (
    <input
      type="search"
      aria-label={label}
      placeholder={placeholder}
      value={typed}
      onInput={({ currentTarget: { value } }) => {
        setTyped(value)
        clearTimeout(timer.current)
        timer.current = setTimeout(() => onText(value), searchDelayMs)
      }}
    />
  )
}
