/** What somebody is writing into documents of the configuration and has not saved: kept while the page is open, whatever else is looked at meanwhile. */
import type { ConfigDocumentJson } from './config-client.js'
import type { Fault } from './http-client.js'

export interface Draft {
  /** What it was begun from; null for a document that was not there. */
  readonly base: ConfigDocumentJson | null
  readonly text: string
  readonly note: string
  /** What the node has said against this very text. */
  readonly refusal: { readonly message: string; readonly faults: readonly Fault[] } | null
}

export class ConfigDrafts {
  private readonly drafts = new Map<string, Draft>()
  private readonly listeners = new Set<() => void>()

  of(key: string): Draft | undefined {
    return this.drafts.get(key)
  }

  get size(): number {
    return this.drafts.size
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  put(key: string, draft: Draft): void {
    this.drafts.set(key, draft)
    this.tell()
  }

  drop(key: string): void {
    this.drafts.delete(key)
    this.tell()
  }

  /** Somebody else may look at the page from now on. */
  clear(): void {
    this.drafts.clear()
    this.tell()
  }

  private tell(): void {
    for (const listener of this.listeners) listener()
  }
}

export function documentText(document: ConfigDocumentJson | null | undefined): string {
  return document === null || document === undefined ? '' : (JSON.stringify(document.value, null, 2) ?? '')
}

export type Parsed = { readonly value: unknown } | { readonly error: string }

export function parseText(text: string): Parsed {
  try {
    return { value: JSON.parse(text) as unknown }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}
