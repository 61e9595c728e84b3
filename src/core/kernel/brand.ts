/**
 * Branded primitives: numbers and strings that mean different things and must never be compared with one
 * another. A brand costs nothing at run time; a value gets one where it enters the system.
 */
declare const brand: unique symbol
export type Brand<T, B extends string> = T & { readonly [brand]: B }

/** Stable name of a node, kept in its data directory. 1 to 64 characters of `[A-Za-z0-9._-]`. */
export type NodeId = string
/** `host:port`, or `[v6]:port`. */
export type Address = string
/** Name of one process start, random. Ordered by {@link BootNumber}, never by itself. */
export type BootId = Brand<string, 'BootId'>
/** Store revision at which a boot registered first: later boots of one node id have higher numbers. */
export type BootNumber = Brand<number, 'BootNumber'>
/** SWIM incarnation: raised only by the node it describes, to refute what others say of it. */
export type Incarnation = Brand<number, 'Incarnation'>
/** Raised by one at every change of leader. */
export type Term = Brand<number, 'Term'>
/** Raised at every assignment of a shard. 0 means: never assigned. */
export type Epoch = Brand<number, 'Epoch'>
/** Granted by the store, never reused: the identity under which a process owns anything. */
export type LeaseId = Brand<string, 'LeaseId'>
/** Index of a slice of the key space, 0 … shards-1. */
export type ShardId = number
/** Store revision. 64 bit in every engine, hence a bigint. */
export type Revision = bigint

export const asBootId = (value: string): BootId => value as BootId
export const asBootNumber = (value: number): BootNumber => value as BootNumber
export const asIncarnation = (value: number): Incarnation => value as Incarnation
export const asTerm = (value: number): Term => value as Term
export const asEpoch = (value: number): Epoch => value as Epoch
export const asLeaseId = (value: string): LeaseId => value as LeaseId
