//! What happened in a world, in words, and a digest of it: two runs of one seed must tell the same story.

use core::fmt::{self, Write as _};
use quelea_time::Time;
use std::io;

/// The story of a world.
pub(crate) struct Trace {
    hash: Fnv,
    told: u64,
    is_digested: bool,
    sink: Option<Box<dyn io::Write>>,
}

impl Trace {
    /// A story that is digested if that is wanted, and written to `sink` if there is one.
    pub(crate) fn new(sink: Option<Box<dyn io::Write>>, is_digested: bool) -> Self {
        Self { hash: Fnv(0xcbf2_9ce4_8422_2325), told: 0, is_digested, sink }
    }

    /// Whether it is worth telling anything.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_digested || self.sink.is_some()
    }

    /// Tells that something happened to a node.
    pub(crate) fn tell(&mut self, now: Time, node: &str, what: fmt::Arguments<'_>) {
        if !self.is_heard() {
            return;
        }
        self.told += 1;
        // A digest takes everything.
        let _ = write!(self.hash, "{} {node} {what}", now.as_nanos());
        if let Some(sink) = &mut self.sink {
            let line = format!("{:>10} {node:<5} {what}\n", now.to_string());
            if sink.write_all(line.as_bytes()).is_err() {
                // Whoever read it has gone.
                self.sink = None;
            }
        }
    }

    /// How many things were told.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// The digest of everything told.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.0
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("told", &self.told).finish_non_exhaustive()
    }
}

/// FNV-1a: short, and the same on every machine.
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
