//! Connected peers: their keys and their place in memory.

use alloc::vec::Vec;
use core::fmt;

/// Names a connected peer. A key is never used again for another peer of the same torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    slot: u32,
    generation: u32,
}

impl PeerKey {
    /// A key that no peer ever has.
    pub(crate) const NOBODY: Self = Self { slot: u32::MAX, generation: u32::MAX };
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}.{}", self.slot, self.generation)
    }
}

/// Values by [`PeerKey`]; iteration is in the order of the slots, the same in every run.
#[derive(Debug)]
pub struct Peers<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Peers<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Peers<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one.
    pub fn insert(&mut self, value: T) -> PeerKey {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.slots[slot as usize];
            entry.0 = entry.0.wrapping_add(1);
            entry.1 = Some(value);
            return PeerKey { slot, generation: entry.0 };
        }
        self.slots.push((0, Some(value)));
        PeerKey { slot: self.slots.len() as u32 - 1, generation: 0 }
    }

    /// The one of this key, if it is still there.
    pub fn get(&self, key: PeerKey) -> Option<&T> {
        let (generation, value) = self.slots.get(key.slot as usize)?;
        if *generation == key.generation { value.as_ref() } else { None }
    }

    /// The one of this key, if it is still there.
    pub fn get_mut(&mut self, key: PeerKey) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(key.slot as usize)?;
        if *generation == key.generation { value.as_mut() } else { None }
    }

    /// Takes the one of this key out.
    pub fn remove(&mut self, key: PeerKey) -> Option<T> {
        let (generation, value) = self.slots.get_mut(key.slot as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        self.free.push(key.slot);
        Some(value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (PeerKey, &T)> + Clone {
        self.slots.iter().enumerate().filter_map(|(slot, (generation, value))| {
            Some((PeerKey { slot: slot as u32, generation: *generation }, value.as_ref()?))
        })
    }

    /// All of them, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerKey, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, (generation, value))| {
            Some((PeerKey { slot: slot as u32, generation: *generation }, value.as_mut()?))
        })
    }

    /// The keys of those of which it is true.
    pub fn keys_where(&self, is_meant: impl Fn(&T) -> bool) -> Vec<PeerKey> {
        self.iter().filter(|(_, value)| is_meant(value)).map(|(key, _)| key).collect()
    }

    /// The keys of all of them.
    pub fn keys(&self) -> Vec<PeerKey> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_name_its_successor() {
        let mut peers = Peers::default();
        let first = peers.insert('a');
        assert_eq!(peers.remove(first), Some('a'));
        let second = peers.insert('b');
        assert_ne!(first, second);
        assert_eq!(peers.get(first), None);
        assert_eq!(peers.remove(first), None);
        assert_eq!(peers.get(second), Some(&'b'));
        assert_eq!(peers.len(), 1);
    }
}
