/** Contract suites: what every driver must pass. Bring your own `describe` and `it`. */
export * from './journal-contract.js'
export * from './store-contract.js'
