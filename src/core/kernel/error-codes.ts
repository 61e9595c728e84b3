/** Every code that an error of ours can have: what it means, and what to do. A contract: codes are added, never renamed. `docs/ERRORS.md` is made from it. */
interface CodeFacts {
  readonly meaning: string
  readonly fix: string
}

export const errorCodes = {
  aborted: {
    meaning: 'The caller gave up, or told what ran to stop.',
    fix: 'Nothing; whether it had an effect is in `details.outcome`.',
  },
  already_running: {
    meaning: 'Another process works with that data directory, or a carry is under way.',
    fix: 'End it, or give this one a directory of its own.',
  },
  bad_address: {
    meaning: 'An address that cannot be bound, or that peers could not dial.',
    fix: 'See the detail: the option, what was given, and what is allowed.',
  },
  bad_certificate: {
    meaning: 'A certificate that is out of date, of another authority, or for another name.',
    fix: 'The detail names the file and the fault; `skein cert` makes them.',
  },
  bad_config: {
    meaning: 'Options that contradict each other, or the cluster that is joined.',
    fix: 'The detail names the option and the value that fits.',
  },
  bad_cookie: {
    meaning: 'The peer has another cluster secret.',
    fix: 'Give all nodes the same `--cookie` or `--cookie-file`.',
  },
  clock_skew: {
    meaning: 'A timestamp too far ahead of this node’s clock; it was refused, the member was not.',
    fix: 'Set the clocks by NTP or chrony; see `/api/cluster/clock`.',
  },
  closed: {
    meaning: 'This node, connection or subscription is ending and takes nothing new.',
    fix: 'Send it to another node.',
  },
  cluster_mismatch: {
    meaning: 'The peer belongs to a cluster of another name.',
    fix: 'Compare `--cluster-name`, and the addresses in `--peer`.',
  },
  compacted: {
    meaning:
      'That position is not kept any more: it was trimmed by retention, or the history of the store moved on.',
    fix: 'Begin from the oldest that is there, or from a snapshot.',
  },
  conflict: {
    meaning: 'It exists already, changed meanwhile, or is in a state that does not allow this.',
    fix: 'Look at it again and decide anew.',
  },
  corrupt: {
    meaning: 'Stored bytes that cannot be read as what they should be.',
    fix: 'Restore the file that the detail names from a backup.',
  },
  data_dir_unusable: {
    meaning: 'The data directory cannot be made, read or written, or is on a file system without locks.',
    fix: 'The detail names the directory and the reason.',
  },
  disk_full: {
    meaning: 'The store or the journal has no space left; nothing of the request is half done.',
    fix: 'Free space, or lower retention; it goes on by itself.',
  },
  event_conflict: {
    meaning: 'The same id was used with another payload.',
    fix: 'Give each event an id of its own, or none.',
  },
  fenced: {
    meaning: 'An owner of a later epoch is known: what this one does has no effect any more.',
    fix: 'Send it again; it goes to the present owner.',
  },
  forbidden: {
    meaning: 'The token or certificate does not allow this.',
    fix: 'Use one with the role that `details.role_needed` names.',
  },
  forbidden_origin: {
    meaning: 'A browser sent it from a page of another origin.',
    fix: 'Open the dashboard at the node itself, or allow it with `--allowed-origin`.',
  },
  frame_too_large: { meaning: 'A frame between nodes above the limit.', fix: 'Send less at once.' },
  handler_failed: {
    meaning: 'Code of the program threw: a handler, a processor or an agent. The message is its own.',
    fix: 'Mend that code; `details.name` is the kind of error.',
  },
  incompatible: {
    meaning: 'Builds whose protocol or data format do not fit.',
    fix: 'Upgrade the older side; see [UPGRADING](UPGRADING.md).',
  },
  internal: {
    meaning: 'Something that should not be possible.',
    fix: 'Keep the log of that node and tell us.',
  },
  invalid_argument: {
    meaning: 'What was given is not allowed.',
    fix: 'The detail says which field, what was given, and what is allowed.',
  },
  lease_not_found: { meaning: 'The lease has ended.', fix: 'Nothing: the node takes a new one.' },
  method_not_allowed: { meaning: 'That path has other methods.', fix: 'They are in the `Allow` header.' },
  no_leader: {
    meaning: 'Nobody leads at the moment.',
    fix: 'Wait a second or two; else see `skein nodes ls` and the health of the store.',
  },
  no_owner: {
    meaning: 'Nobody owns the shard of that key at the moment.',
    fix: 'Send it again in a moment, under the same id.',
  },
  node_down: {
    meaning: 'The node that did it is gone. `details.outcome` says whether it may have been done.',
    fix: 'Where the outcome is unknown, repeat only what may be done twice.',
  },
  node_id_in_use: { meaning: 'A living node has that id.', fix: 'Give each node an id of its own.' },
  not_found: {
    meaning: 'There is no such thing here.',
    fix: 'The detail names it; lists show what there is.',
  },
  outcome_unknown: {
    meaning:
      'It may have been done or not: the connection, the node or the engine went while it was under way.',
    fix: 'Ask what became of it, or send it again under the same id.',
  },
  overloaded: {
    meaning: 'A limit is reached: of a queue, a rate, or of how many may exist.',
    fix: 'Wait as long as `Retry-After` says; the detail names the limit.',
  },
  payload_too_large: {
    meaning: 'A body, message or value above its limit.',
    fix: 'The detail names the limit.',
  },
  peer_unreachable: {
    meaning: 'The node cannot be reached from here; it certainly did not do it.',
    fix: 'Send it again, or to another node.',
  },
  port_in_use: { meaning: 'Another process has the port.', fix: 'Choose another, or end that process.' },
  protocol_violation: {
    meaning: 'A peer or client said what the protocol does not allow.',
    fix: 'Compare the versions of both sides.',
  },
  quorum_lost: {
    meaning: 'The store has no majority: nothing can be decided.',
    fix: 'Bring back members of the store.',
  },
  store_mismatch: {
    meaning: 'The peer keeps its truth in another store or journal.',
    fix: 'Give all nodes the same `--store` and `--journal`.',
  },
  timeout: {
    meaning: 'It was not done in time. For a write, `details.outcome` says whether it may have been done.',
    fix: 'Send it again under the same id, or allow more time.',
  },
  too_deep: {
    meaning: 'JSON nested deeper than is allowed.',
    fix: 'Flatten it; the detail names the limit.',
  },
  unauthenticated: {
    meaning: 'This node has tokens, and none that it knows was given.',
    fix: '`Authorization: Bearer …`, `--token`, or log in on the dashboard.',
  },
  unavailable: {
    meaning: 'The node lacks what it needs for this at the moment: its lease, the store, a majority.',
    fix: 'Send it again in a moment.',
  },
  unsupported_media_type: {
    meaning: 'A body of a type that the path does not take.',
    fix: 'The detail lists the types.',
  },
} as const satisfies Readonly<Record<string, CodeFacts>>

export type ErrorCode = keyof typeof errorCodes
