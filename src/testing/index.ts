/** Contract suites: what every driver must pass. Bring your own `describe` and `it`. */
export * from './datagram-contract.js'
export * from './journal-contract.js'
export * from './store-contract.js'
export * from './transport-contract.js'
