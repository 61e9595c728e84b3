/** The block is the same in every journal: `engines/journal/block.ts`. */
export {
  type Block,
  type BlockBatch,
  BlockEncoder,
  type BlockHead,
  blocksOf,
  checksum,
  decodeBlock,
  mayHoldKey,
} from '../../engines/journal/block.js'
