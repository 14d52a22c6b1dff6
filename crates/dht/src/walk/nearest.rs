//! Which nodes count: the nearest of all, and the nearest of those that may have their ids (BEP 42).

use crate::table::K;

/// Counts nodes in order of distance, and tells which are among the nearest of all or of those that fit.
#[derive(Default)]
pub(super) struct Nearest {
    all: usize,
    fitting: usize,
}

impl Nearest {
    /// Whether the next one would count.
    pub(super) const fn counts(&self, fits: bool) -> bool {
        self.all < K || (fits && self.fitting < K)
    }

    /// The next one in order of distance.
    pub(super) fn pass(&mut self, fits: bool) {
        self.all += 1;
        self.fitting += usize::from(fits);
    }

    /// Whether nobody else counts.
    pub(super) const fn is_full(&self) -> bool {
        self.all >= K && self.fitting >= K
    }
}
