//! What payload of a node's takes of its memory, by the blocks that are alive and not by what its machine says.

use std::cell::Cell;
use std::rc::Rc;

/// The account of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Rc<Cell<u64>>);

impl Memory {
    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get()
    }

    /// So many bytes are held until what is returned is dropped.
    pub(crate) fn hold(&self, bytes: u64) -> Held {
        self.0.set(self.0.get() + bytes);
        Held { memory: self.clone(), bytes }
    }
}

/// Bytes that are held as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Memory,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.0.set(self.memory.0.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_held_no_longer() {
        let memory = Memory::default();
        let held = (memory.hold(3), memory.hold(4));
        assert_eq!(memory.bytes(), 7);
        drop(held.0);
        assert_eq!(memory.bytes(), 4);
    }
}
