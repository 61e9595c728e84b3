/**
 * What a node tells of what happened: `/api/cluster/history`, `/api/cluster/watch`, the timeline. A contract: events are added, never renamed.
 * `docs/EVENTS.md` is made from it.
 */
interface EventFacts {
  readonly meaning: string
  /** Beside `at`, `node_id` and `seq`. */
  readonly fields: readonly string[]
}

const ofMember = ['member', 'detail', 'observer'] as const
const ofPlace = ['agent', 'node', 'epoch', 'from', 'by'] as const
const ofMove = ['agent', 'from', 'to', 'by'] as const

export const feedEvents = {
  'agent.assigned': { meaning: 'an agent has its first place, or one after it had none', fields: ofPlace },
  'agent.move_dropped': { meaning: 'an agent was to move and stays', fields: ofMove },
  'agent.move_refused': {
    meaning: 'the node that was to hand an agent over could not',
    fields: ['agent', 'node'],
  },
  'agent.moving': { meaning: 'an agent is asked to move to another node', fields: ofMove },
  'agent.removed': { meaning: 'an agent is gone for good', fields: ['agent', 'epoch'] },
  'agent.replaced': { meaning: 'an agent has another place', fields: ofPlace },
  'config.changed': {
    meaning: 'a document of the configuration has a new version',
    fields: ['key', 'version', 'by', 'note'],
  },
  'format.raised': {
    meaning: 'every node reads the next format of what is stored, and it is written from now on',
    fields: ['level'],
  },
  'leader.elected': { meaning: 'a node leads, in a new term', fields: ['term', 'leader', 'reason'] },
  'leader.resigned': {
    meaning: 'the leader gave its seat up; another follows',
    fields: ['term', 'leader', 'reason'],
  },
  'lease.granted': { meaning: 'this node holds a lease and may own things', fields: ['lease'] },
  'lease.lost': { meaning: 'this node lost its lease and has stopped serving', fields: ['lease', 'reason'] },
  'member.active': { meaning: 'a member takes work', fields: ofMember },
  'member.death_proved': {
    meaning: 'the process of a member has certainly ended; its lease is revoked at once',
    fields: ['member', 'lease'],
  },
  'member.draining': { meaning: 'a member gives away what it has and takes nothing new', fields: ofMember },
  'member.evicted': {
    meaning: 'the leader took the lease of a member that most call failed',
    fields: ['member', 'lease'],
  },
  'member.failed': { meaning: 'a member does not answer, to anybody asked', fields: ofMember },
  'member.joined': { meaning: 'a member was seen for the first time', fields: ofMember },
  'member.joining': { meaning: 'a member is about to take work', fields: ofMember },
  'member.leaving': { meaning: 'a member leaves', fields: ofMember },
  'member.left': { meaning: 'a member has left in order', fields: ofMember },
  'member.recovered': { meaning: 'a member that was suspected or called failed is alive', fields: ofMember },
  'member.removed': { meaning: 'a member that was gone is forgotten', fields: ofMember },
  'member.restarted': { meaning: 'a member is there as another process than before', fields: ofMember },
  'member.stalled': {
    meaning: 'the main thread of a member stands still: it is given nothing new',
    fields: ofMember,
  },
  'member.suspected': { meaning: 'a member missed probes; it may refute', fields: ofMember },
  'member.unstalled': { meaning: 'the main thread of a member runs again', fields: ofMember },
  'ownership.alarm': {
    meaning: 'the auditor found what correct code cannot do',
    fields: ['rule', 'shard', 'agent', 'epoch', 'detail'],
  },
  'self.active': { meaning: 'this node takes work', fields: [] },
  'self.draining': { meaning: 'this node gives away what it has', fields: [] },
  'self.joining': { meaning: 'this node has a lease and is about to take work', fields: [] },
  'self.leaving': { meaning: 'this node leaves', fields: [] },
  'self.left': { meaning: 'this node has left in order', fields: [] },
  'shards.moved': {
    meaning: 'shards have other owners, as this node heard; an empty name stands for nobody',
    fields: ['count', 'moves'],
  },
} as const satisfies Readonly<Record<string, EventFacts>>

export type FeedEventName = keyof typeof feedEvents
