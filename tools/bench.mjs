// npm run bench [NAME]: each measures us and a peer or the physical limit side by side in one run.
import { runScripts } from './run-scripts.mjs'

runScripts('bench', 'npm run bench')
