/** `skein/client`: rooms and sessions for browsers and Node.js. Sees nothing of the rest of Skein. */
export { ClientError, SkeinClient } from './client.js'
export type * from './types.js'
