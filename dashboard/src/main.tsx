/** Starts the dashboard: one source of live data, one tree. No logic here. */
import { render } from 'preact'
import { App } from './app.js'
import { LiveData } from './live-data.js'
import 'uplot/dist/uPlot.min.css'
import './style.css'
import './style-panels.css'
import './style-timeline.css'

const root = document.getElementById('app')
if (root !== null) {
  const live = new LiveData(document)
  live.start()
  render(<App live={live} />, root)
}
