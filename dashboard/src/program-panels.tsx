/** What programs use, below what the cluster is: services, names, rooms, sessions, processors, maps; and what of it is open over the page. */
import type { LiveData } from './live-data.js'
import { MapDrawer } from './map-drawer.js'
import { MapsPanel } from './maps-panel.js'
import { NamesPanel } from './names-panel.js'
import type { Outcomes } from './outcomes.js'
import type { ChangeView, PageView } from './page-view.js'
import type { Plan } from './plans.js'
import { ProcessorsPanel } from './processors-panel.js'
import { RoomDrawer } from './room-drawer.js'
import { RoomsPanel } from './rooms-panel.js'
import { ServicesPanel } from './services-panel.js'
import { SessionsPanel } from './sessions-panel.js'

interface Props {
  readonly live: LiveData
  readonly outcomes: Outcomes
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
  readonly mayAct: boolean
  readonly onPlan: (plan: Plan) => void
}

export function ProgramPanels({ live, nowMs, view, change, mayAct, onPlan }: Props) {
  return (
    <>
      <ServicesPanel {...{ live, view, change }} />
      <NamesPanel {...{ live, nowMs, view, change }} />
      <RoomsPanel {...{ live, view, change }} />
      <SessionsPanel {...{ live, nowMs, view, change }} />
      <ProcessorsPanel {...{ live, nowMs, mayAct }} onKill={(id) => onPlan({ kind: 'kill', id })} />
      <MapsPanel {...{ live, nowMs, change }} />
    </>
  )
}

export function ProgramDrawers({ outcomes, nowMs, view, change, mayAct }: Props) {
  return (
    <>
      {view.room === '' ? null : (
        <RoomDrawer
          key={view.room}
          {...{ nowMs, mayAct, outcomes }}
          room={view.room}
          onClose={() => change({ room: '' })}
        />
      )}
      {view.map === '' ? null : (
        <MapDrawer key={view.map} {...{ nowMs, change }} name={view.map} after={view.after} />
      )}
    </>
  )
}
