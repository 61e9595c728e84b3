// npm run prove [NAME]: the promises, each tried by one command that prints its figures and fails when the promise does.
import { runScripts } from './run-scripts.mjs'

runScripts('tools/prove', 'npm run prove')
