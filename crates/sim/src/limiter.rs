//! What a node lets itself send: the tree of limits that runs in production deals it out to its links.

use crate::link::{LinkId, Side};
use quelea_swarm::limit::{BURST, Dealt, NodeId, Tree};
use quelea_time::Time;
use std::collections::BTreeMap;

/// Bytes that a link asks for at least, as in production.
const LEAST_WANT: u64 = 16 << 10;

/// The limits of one node for what it sends.
#[derive(Debug)]
pub(crate) struct Limiter {
    tree: Tree,
    torrent: NodeId,
    leaves: BTreeMap<(LinkId, Side), Leaf>,
    /// Bytes a second that it may send by both limits.
    limit: u64,
    since: Time,
    sent: u64,
    /// Bytes are dealt out at some moment to come.
    pub(crate) is_planned: bool,
}

#[derive(Debug)]
struct Leaf {
    node: NodeId,
    balance: u64,
    /// Bytes sent since it asked for more.
    used: u64,
}

impl Limiter {
    /// The limits of the session and of the torrent; nothing where there is neither.
    pub(crate) fn new(now: Time, limits: [Option<u64>; 2]) -> Option<Self> {
        let limit = limits.into_iter().flatten().min()?;
        let mut tree = Tree::new(now);
        let torrent = tree.add(now, Tree::ROOT);
        for (node, limit) in [Tree::ROOT, torrent].into_iter().zip(limits) {
            tree.set_limit(now, node, limit);
        }
        Some(Self { tree, torrent, leaves: BTreeMap::new(), limit, since: now, sent: 0, is_planned: false })
    }

    /// Bytes that a link may send now.
    pub(crate) fn allowance(&self, link: (LinkId, Side)) -> usize {
        self.leaves.get(&link).map_or(0, |leaf| usize::try_from(leaf.balance).unwrap_or(usize::MAX))
    }

    /// A link would send, and may not.
    pub(crate) fn ask(&mut self, now: Time, link: (LinkId, Side)) {
        let (tree, torrent) = (&mut self.tree, self.torrent);
        let leaf = self.leaves.entry(link).or_insert_with(|| Leaf {
            node: tree.add(now, torrent),
            balance: 0,
            used: 0,
        });
        let wants = (2 * core::mem::take(&mut leaf.used)).max(LEAST_WANT);
        self.tree.want(leaf.node, wants);
    }

    /// A link has sent. Whether that is within the limits.
    pub(crate) fn sent(&mut self, now: Time, link: (LinkId, Side), bytes: usize) -> bool {
        let bytes = bytes as u64;
        if let Some(leaf) = self.leaves.get_mut(&link) {
            leaf.balance = leaf.balance.saturating_sub(bytes);
            leaf.used += bytes;
        }
        self.sent += bytes;
        let due = (now.since(self.since) + BURST).as_secs_f64() * self.limit as f64;
        // What cannot be divided evenly is rounded up for each link.
        self.sent as f64 <= due + self.leaves.len() as f64 + 1.0
    }

    /// Deals out what is due: to whom, and whether somebody waits still.
    pub(crate) fn deal(&mut self, now: Time) -> (Vec<(LinkId, Side)>, bool) {
        let dealt = self.tree.deal(now);
        let mut links = Vec::new();
        for (&link, leaf) in &mut self.leaves {
            let share = dealt.iter().find(|Dealt { node, .. }| *node == leaf.node);
            if let Some(Dealt { bytes, .. }) = share {
                leaf.balance += bytes;
                links.push(link);
            }
        }
        (links, !self.tree.is_idle())
    }

    /// A link is over.
    pub(crate) fn forget(&mut self, link: (LinkId, Side)) {
        if let Some(leaf) = self.leaves.remove(&link) {
            self.tree.remove(leaf.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use quelea_swarm::limit::ROUND;

    #[test]
    fn what_was_dealt_may_be_sent_and_nothing_beyond() {
        let mut limiter = Limiter::new(Time::ZERO, [Some(90_000), Some(100_000)]).unwrap();
        let link = (0, Side::Caller);
        let mut now = Time::ZERO;
        let mut sent = 0;
        while now < Time::from_secs(10) {
            limiter.ask(now, link);
            now += ROUND;
            limiter.deal(now);
            let allowance = limiter.allowance(link);
            sent += allowance;
            assert!(limiter.sent(now, link, allowance));
        }
        assert!((882_000..=918_000).contains(&sent), "{sent}");
        assert!(!limiter.sent(now, link, 20_000));
        assert!(Limiter::new(now, [None; 2]).is_none());
        now += Duration::from_secs(1);
        limiter.forget(link);
        assert_eq!(limiter.allowance(link), 0);
    }
}
