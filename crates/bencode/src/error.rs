//! Why bytes are not the bencode that was asked for, and where.

/// Why the input was refused. Every variant carries `at`, the offset in bytes from the input's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends where a value, a key or the rest of one should stand.
    #[error("bencode ends too early: something is missing at byte {at}")]
    UnexpectedEnd {
        /// Offset in bytes.
        at: usize,
    },
    /// No value begins with this byte.
    #[error("no bencoded value begins with byte 0x{byte:02x}, found at byte {at}")]
    UnexpectedByte {
        /// Offset in bytes.
        at: usize,
        /// The byte found there.
        byte: u8,
    },
    /// Between `i` and `e` stands something that is not a whole decimal number.
    #[error("the integer at byte {at} is not a whole decimal number")]
    BadInteger {
        /// Offset of the `i`, in bytes.
        at: usize,
    },
    /// The number is beyond 64 bits with a sign.
    #[error("the integer at byte {at} does not fit into 64 bits")]
    IntegerRange {
        /// Offset of the `i`, in bytes.
        at: usize,
    },
    /// A number is written with zeros in front, or as negative zero.
    #[error("the number at byte {at} has a leading zero or is a negative zero")]
    LeadingZero {
        /// Offset of the value that the number belongs to, in bytes.
        at: usize,
    },
    /// A string's length is not digits and a colon.
    #[error("the string at byte {at} does not begin with a length and a colon")]
    BadLength {
        /// Offset of the string's length, in bytes.
        at: usize,
    },
    /// A string says that it is longer than the input.
    #[error("the string at byte {at} runs past the end of the input")]
    StringPastEnd {
        /// Offset of the string's length, in bytes.
        at: usize,
    },
    /// A dictionary's key is a number, a list or a dictionary.
    #[error("the dictionary key at byte {at} is not a string")]
    KeyNotString {
        /// Offset in bytes.
        at: usize,
    },
    /// A dictionary has the same key twice.
    #[error("the dictionary at byte {at} has the same key twice")]
    DuplicateKey {
        /// Offset of the dictionary, in bytes.
        at: usize,
    },
    /// Lists and dictionaries are nested deeper than the limit.
    #[error("nested more than {limit} levels deep at byte {at}")]
    TooDeep {
        /// Offset in bytes.
        at: usize,
        /// The limit that applied, in levels.
        limit: usize,
    },
    /// There are more keys and values than the limit.
    #[error("more than {limit} keys and values, counted up to byte {at}")]
    TooManyItems {
        /// Offset in bytes.
        at: usize,
        /// The limit that applied.
        limit: usize,
    },
    /// The value is complete, and bytes follow it.
    #[error("the value ends at byte {at}, but more bytes follow")]
    TrailingBytes {
        /// Offset of the first byte after the value.
        at: usize,
    },
}

impl Error {
    /// Where in the input, in bytes from its beginning.
    pub const fn at(&self) -> usize {
        match *self {
            Self::UnexpectedEnd { at }
            | Self::UnexpectedByte { at, .. }
            | Self::BadInteger { at }
            | Self::IntegerRange { at }
            | Self::LeadingZero { at }
            | Self::BadLength { at }
            | Self::StringPastEnd { at }
            | Self::KeyNotString { at }
            | Self::DuplicateKey { at }
            | Self::TooDeep { at, .. }
            | Self::TooManyItems { at, .. }
            | Self::TrailingBytes { at } => at,
        }
    }
}
