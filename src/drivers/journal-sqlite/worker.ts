/** The journal's thread: an engine behind messages. Everything else is in `run-engine.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import type { AnswerMessage, CallMessage, WorkerData } from './protocol.js'
import { toErrorData } from './protocol.js'
import { InlineRunner } from './run-engine.js'

const { options } = workerData as WorkerData
const runner = new InlineRunner(options)

parentPort?.on('message', ({ number, name, args }: CallMessage) => {
  const send = (message: AnswerMessage) => parentPort?.postMessage(message)
  runner.call(name, args as never).then(
    (value) => send({ number, value }),
    (error: unknown) => send({ number, error: toErrorData(error) }),
  )
})
