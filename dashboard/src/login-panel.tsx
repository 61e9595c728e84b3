/** Where somebody shows a token: what stands in place of the page while the node does not know who is looking. */
import type { TargetedSubmitEvent } from 'preact'
import { useState } from 'preact/hooks'
import { logIn } from './http-client.js'

export function LoginPanel({ onDone }: { onDone: () => void }) {
  const [error, setError] = useState<string | null>(null)
  const [isAsking, setIsAsking] = useState(false)
  const submit = async (event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault()
    const token = String(new FormData(event.currentTarget).get('token') ?? '').trim()
    if (token === '') {
      setError('Paste a token first')
      return
    }
    setIsAsking(true)
    try {
      await logIn(token)
      onDone()
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause))
      setIsAsking(false)
    }
  }
  return (
    <main class="page">
      <form class="panel login" onSubmit={(event) => void submit(event)}>
        <h1>Log in</h1>
        <p>
          This node asks for a token. One with the role <b>viewer</b> is enough to look:{' '}
          <code>skein token create --role viewer --name you</code>
        </p>
        <label for="token">Token</label>
        <input
          id="token"
          name="token"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          autofocus
          aria-describedby="login-error"
        />
        <p id="login-error" class="bad" role="alert">
          {error}
        </p>
        <button type="submit" disabled={isAsking}>
          Log in
        </button>
      </form>
    </main>
  )
}
