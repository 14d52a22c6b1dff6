//! Bencode: a borrowing reader with limits and a canonical writer (BEP 3, "bencoding").
//!
//! [`parse`] gives a [`Value`] that borrows from its input: every value knows the bytes it was written as
//! ([`Value::raw`]), so that an info dictionary is hashed as it stands and never re-encoded. [`Item`] is the
//! owned tree for what is written; its encoding is canonical by construction.
//!
//! The reader is strict where bencode is ambiguous (leading zeros, negative zero, integers beyond `i64`, repeated
//! keys are refused: two programs would read two things) and lenient where real programs are sloppy and nothing
//! is ambiguous: keys may come in any order, and [`Value::is_canonical`] tells whether they were sorted.
//! [`parse_prefix_leniently`] takes more, for answers of trackers: nothing that is hashed or stored is read by it.
//!
//! No input can exhaust the stack or grow memory beyond the [`Limits`] that the caller chose.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod notation;
mod reader;
mod value;
mod writer;

pub use error::Error;
pub use notation::to_json;
pub use reader::{Limits, parse, parse_prefix, parse_prefix_leniently};
pub use value::{Dict, Value};
pub use writer::Item;
