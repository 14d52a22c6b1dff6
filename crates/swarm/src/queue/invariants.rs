//! What is true of a queue at all times, for tests.

use super::lines::Lines;
use super::row::Row;
use super::{Queue, Stage, Todo};

impl<K: Copy + Ord> Queue<K> {
    /// Checks that the parts agree with each other; what does not, in words. For tests.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let mut sorted = self.order.keys().to_vec();
        sorted.sort_unstable();
        if !sorted.iter().eq(self.rows.keys()) {
            return Err("the order is no permutation of the torrents");
        }
        if self.order.ranked().any(|(key, rank)| self.rows.get(&key).map(|row| row.rank) != Some(rank)) {
            return Err("one has another rank than it says");
        }
        if !self.order.ranked().is_sorted_by(|(_, before), (_, behind)| before < behind) {
            return Err("the ranks do not rise");
        }
        let mut lines = Lines::new();
        for (&key, row) in &self.rows {
            lines.enter(key, row.spot(&self.limits, &self.goals));
        }
        if lines != self.lines {
            return Err("one stands in another line than it should");
        }
        if self.todo > Todo::Nothing {
            return Ok(());
        }
        for stage in [Stage::Downloading, Stage::Seeding] {
            let limit = self.limits.of(stage).unwrap_or(usize::MAX);
            let of = |row: &&Row| row.stage == stage && row.active && !row.forced;
            let all = self.rows.values().filter(of).count();
            let counted = self.rows.values().filter(of).filter(|row| row.counted).count();
            if counted > limit {
                return Err("more count than are allowed");
            }
            if self.limits.slow.map_or(limit, |slow| slow.at_most.max(limit)) < all {
                return Err("more run than are allowed");
            }
        }
        if self.rows.values().any(|row| row.active != row.told || (row.active && !row.wishes())) {
            return Err("one runs that should not, or nobody was told");
        }
        let left_out = |row: &Row| self.limits.of(row.stage).is_none() && row.wishes() && !row.active;
        if self.rows.values().any(left_out) {
            return Err("one waits for a place although there is no limit");
        }
        if self.rows.values().any(|row| row.forced && row.wishes() && !row.active) {
            return Err("a forced one does not run");
        }
        Ok(())
    }
}
