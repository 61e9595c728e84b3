/** A component that is drawn again only when something it is given has changed: each thing compared by identity. Panels of hundreds of nodes rest on it. */
import { Component, type ComponentChildren, type ComponentType } from 'preact'

export function memo<P extends object>(Inner: (props: P) => ComponentChildren): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      return differ(this.props, next)
    }

    override render(): ComponentChildren {
      return <Inner {...this.props} />
    }
  }
}

function differ(before: object, next: object): boolean {
  for (const name in before) if (!(name in next)) return true
  for (const name in next)
    if ((before as Record<string, unknown>)[name] !== (next as Record<string, unknown>)[name]) return true
  return false
}
