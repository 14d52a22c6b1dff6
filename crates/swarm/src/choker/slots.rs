//! How a session's slots are divided among its torrents.

use alloc::vec::Vec;

/// What a torrent could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Interested peers.
    pub interested: usize,
    /// Slots that it may have at most by its own setting.
    pub most: usize,
}

/// Divides a session's slots among torrents: each gets what it can use, and where that is more than there is, all get
/// the same, but for what some cannot use. The sum is never more than `slots`. Where not even one is there for each,
/// the first ones get it: the caller turns the order from round to round.
pub fn divide(slots: usize, demands: &[Demand]) -> Vec<usize> {
    let want = |demand: &Demand| demand.interested.min(demand.most);
    let mut granted = alloc::vec![0; demands.len()];
    let mut left = slots;
    loop {
        let hungry =
            demands.iter().zip(&granted).filter(|(demand, granted)| want(demand) > **granted).count();
        if hungry == 0 || left == 0 {
            return granted;
        }
        let each = (left / hungry).max(1);
        for (demand, granted) in demands.iter().zip(&mut granted) {
            let more = want(demand).saturating_sub(*granted).min(each).min(left);
            *granted += more;
            left -= more;
        }
    }
}
