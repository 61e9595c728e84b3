/** Starts the dashboard: the sources of live data, one tree. No logic here. */
import { render } from 'preact'
import { agentsQuestion } from './agents-data.js'
import { App } from './app.js'
import { ConfigDrafts } from './config-drafts.js'
import { takeFormerNode } from './failover.js'
import { LiveData } from './live-data.js'
import { Outcomes } from './outcomes.js'
import { applyTheme } from './theme.js'
import { WantedData } from './wanted-data.js'
import 'uplot/dist/uPlot.min.css'
import './style.css'
import './style-panels.css'
import './style-timeline.css'
import './style-agents.css'
import './style-plans.css'
import './style-programs.css'
import './style-cluster.css'

const root = document.getElementById('app')
if (root !== null) {
  applyTheme()
  const outcomes = new Outcomes()
  const former = takeFormerNode()
  if (former !== null)
    outcomes.add(`${former} did not answer any more: this page is another node’s now`, false)
  const live = new LiveData(document)
  const agents = new WantedData(live, agentsQuestion)
  agents.open()
  live.start()
  render(<App live={live} agents={agents} outcomes={outcomes} drafts={new ConfigDrafts()} />, root)
}
