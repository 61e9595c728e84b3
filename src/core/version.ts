/** The version of this build, once. */
export const version = '0.1.0'
