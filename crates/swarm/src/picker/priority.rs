//! How much a piece is wanted.

use core::fmt;

/// How much a piece or a file is wanted: 0 is not at all, 4 is usual, 7 is most. What has more is taken first,
/// whatever its rarity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Not wanted.
    pub const UNWANTED: Self = Self(0);
    /// The least that is wanted.
    pub const LOWEST: Self = Self(1);
    /// What a piece has that nobody said anything about.
    pub const USUAL: Self = Self(4);
    /// Wanted before everything else.
    pub const HIGHEST: Self = Self(7);

    /// The priority of this number, if there is one: 0 to 7.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::HIGHEST.0 { Some(Self(number)) } else { None }
    }

    /// Its number, 0 to 7.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether it is wanted at all.
    pub const fn is_wanted(self) -> bool {
        self.0 > 0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::USUAL
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
