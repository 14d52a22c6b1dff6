//! How much a peer may make us wait for or keep, and why.

use quelea_metainfo::geometry::BLOCK_LENGTH;

/// Bytes of payload in one piece message: a whole block. We never ask for more, so more was never asked for
/// (BEP 3, "request": 16 KiB, and implementations close on larger ones).
pub const BLOCK: usize = BLOCK_LENGTH as usize;

/// Bytes of a bitfield while the number of pieces is unknown (a magnet link): 2 Mi pieces, the most that
/// clients in the field accept. Where the number is known, it is the limit.
pub const BITFIELD: usize = 256 * 1024;

/// Bytes that a peer's bitfield may be too long by: some clients round up to a whole byte more, or to a word.
pub const BITFIELD_SPARE: usize = 8;

/// Bytes of an extended message: a metadata piece is 16 KiB and a peer exchange of 100 contacts 2 KiB, so 1 MiB
/// is generous to what we have not thought of.
pub const EXTENDED: usize = 1024 * 1024;

/// Bytes of an extended message in a torrent whose metadata is known: an extension handshake, a request for a piece of
/// metadata, or a peer exchange, none of which comes near this.
pub const EXTENDED_WITH_METADATA: usize = 64 * 1024;

/// Hashes in one hashes message (BEP 52): 512 from the base layer, as the most one should ask for, and one uncle
/// for each layer that a tree can have.
pub const HASHES: usize = 512 + 64;

/// Bytes of a message that we do not know and skip. They are not kept, only waited for.
pub const UNKNOWN: usize = EXTENDED;

/// Blocks that a decoder speculates at most in one read: 256 KiB and 34 regions, beyond which a larger read
/// saves nothing that can be measured, while every connection could hold that much.
pub const SPECULATED_BLOCKS: usize = 16;

/// Regions that a decoder hands out at most: the rest of a block, two for each speculated block, scratch.
pub const REGIONS: usize = 2 + 2 * SPECULATED_BLOCKS;

/// Bytes of scratch between messages: 240 requests, or 450 haves.
pub const SCRATCH: usize = 4096;

/// Bytes of scratch behind blocks: the header of the next block, or a few small messages. What of a block falls
/// into it must be copied, so it is kept short.
pub const SCRATCH_BEHIND_BLOCKS: usize = 64;

/// Characters of a client's name from its extension handshake.
pub const CLIENT_NAME: usize = 64;

/// Contacts that are read from each list of one peer exchange. BEP 11 allows 50 in all but the first message of
/// a connection.
pub const PEX_CONTACTS: usize = 200;

/// Bytes of an info dictionary that a peer may announce (BEP 9): 32 MiB of piece hashes are 1.6 million pieces.
pub const METADATA: usize = 32 * 1024 * 1024;

/// Pieces of an allowed-fast set (BEP 6 proposes 10). The set is found by drawing until enough are different,
/// so that its size must be bounded.
pub const ALLOWED_FAST: usize = 64;
