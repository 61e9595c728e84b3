/** Which plan is in hand: every action that disturbs something is one of these, and is shown before it is carried out. */
import { ActionPlan, type DisruptiveAction } from './action-plan.js'
import { RebalancePlan } from './balance-plan.js'
import type { ConfigDrafts } from './config-drafts.js'
import { ConfigRollbackPlan, ConfigSavePlan } from './config-plans.js'
import { DrainPlan } from './drain-plan.js'
import type { NodeJson } from './http-client.js'
import { KillPlan } from './kill-plan.js'
import { MigratePlan } from './migrate-plan.js'
import { type NodeDeed, NodePlan } from './node-plans.js'
import type { Outcomes } from './outcomes.js'

export type Plan =
  | { readonly kind: 'migrate'; readonly name: string; readonly to: string | null }
  | { readonly kind: 'act'; readonly name: string; readonly action: DisruptiveAction }
  | { readonly kind: 'drain'; readonly nodeId: string }
  | { readonly kind: 'node'; readonly nodeId: string; readonly deed: NodeDeed }
  | { readonly kind: 'rebalance' }
  | { readonly kind: 'kill'; readonly id: string }
  | { readonly kind: 'config-save'; readonly key: string }
  | { readonly kind: 'config-rollback'; readonly key: string; readonly version: number }

interface Props {
  readonly plan: Plan
  readonly nodes: readonly NodeJson[]
  readonly strategy: string
  readonly drafts: ConfigDrafts
  readonly outcomes: Outcomes
  readonly onChanged: () => void
  readonly onClose: () => void
}

export function PlanInHand({ plan, nodes, strategy, drafts, outcomes, onChanged, onClose }: Props) {
  const common = { outcomes, onDone: onChanged, onClose }
  switch (plan.kind) {
    case 'migrate':
      return <MigratePlan name={plan.name} to={plan.to} {...common} />
    case 'act':
      return <ActionPlan name={plan.name} action={plan.action} {...common} />
    case 'drain':
      return <DrainPlan nodeId={plan.nodeId} {...common} />
    case 'node':
      return <NodePlan nodeId={plan.nodeId} deed={plan.deed} {...common} />
    case 'rebalance':
      return <RebalancePlan strategy={strategy} nodes={nodes} {...common} />
    case 'kill':
      return <KillPlan id={plan.id} {...common} />
    case 'config-save':
      return <ConfigSavePlan name={plan.key} drafts={drafts} {...common} />
    case 'config-rollback':
      return <ConfigRollbackPlan name={plan.key} version={plan.version} {...common} />
  }
}
