/** The control thread: one control plane, bound to the port of its parent. */
import { parentPort, workerData } from 'node:worker_threads'
import { isSkeinError } from '../core/kernel/error.js'
import { makeControlPlane } from './compose.js'
import type { ControlSetup, MainToControl } from './control-messages.js'

const port = parentPort
if (port === null) throw new Error('control-worker must be started as a worker')
const plane = makeControlPlane(workerData as ControlSetup, (message) => port.postMessage(message))

port.on('message', (message: MainToControl) => {
  if (message.type === 'close') void plane.close().then(() => port.close())
  else plane.receiveFromMain(message)
})

plane.start().then(
  () => port.postMessage({ type: 'started' }),
  async (error: unknown) => {
    const code = isSkeinError(error) ? error.code : 'internal'
    const details = isSkeinError(error) ? error.details : {}
    port.postMessage({
      type: 'start_failed',
      code,
      message: error instanceof Error ? error.message : String(error),
      details,
    })
    await plane.close()
    port.close()
  },
)
