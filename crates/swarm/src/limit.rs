//! Limits of bandwidth: a tree of session, classes, torrents and peers, one tree for each direction.
//!
//! Owns: how many bytes everybody may move. Does not own: sockets, and which bytes are counted.
//!
//! A peer that may not move more says how much it would like to ([`Tree::want`]). Every [`ROUND`] the bytes that have
//! become due are dealt out ([`Tree::deal`]): a node divides what it has evenly among those below it that want some,
//! and what one of them cannot take, because of its own limit or because it wants less, goes to the others (max-min
//! fairness). So nobody is fast by asking often, and nothing is left over while somebody wants it.
//!
//! Bytes become due by the clock and are never lost while there is demand, however late a round comes: over any time the
//! limit is reached exactly. Without demand at most [`BURST`] of them are kept.

mod schedule;

pub use schedule::{Minute, Period, Schedule, ScheduleError};

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use quelea_time::Time;

/// How often bytes are dealt out.
pub const ROUND: Duration = Duration::from_millis(50);
/// A limit that nobody used keeps this much for who comes then.
pub const BURST: Duration = Duration::from_millis(100);
/// A round that is later than this is no round: the machine was asleep.
const LONGEST: Duration = Duration::from_secs(2);

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    /// How many hang on it.
    children: usize,
    /// Bytes a second.
    limit: Option<u64>,
    /// Bytes that are due and not dealt out, in billionths.
    level: u128,
    filled: Time,
    /// Somebody below wanted more than there was when bytes were last dealt out.
    hungry: bool,
}

/// What somebody may move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dealt {
    /// To whom.
    pub node: NodeId,
    /// Bytes.
    pub bytes: u64,
}

/// A tree of limits for one direction.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u32,
    wants: BTreeMap<NodeId, u64>,
    /// Whose turn it is to get the bytes that cannot be divided evenly.
    turn: u32,
}

const NANOS: u128 = 1_000_000_000;

impl Tree {
    /// The top of every tree: the session.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of the session alone, without a limit.
    pub fn new(now: Time) -> Self {
        let root = Node { parent: None, children: 0, limit: None, level: 0, filled: now, hungry: false };
        Self { nodes: BTreeMap::from([(Self::ROOT, root)]), next: 1, wants: BTreeMap::new(), turn: 0 }
    }

    /// A node below `parent`, without a limit of its own. Below one that is gone it hangs on the root.
    pub fn add(&mut self, now: Time, parent: NodeId) -> NodeId {
        let id = NodeId(self.next);
        self.next = self.next.wrapping_add(1).max(1);
        let parent = if self.nodes.contains_key(&parent) { parent } else { Self::ROOT };
        self.hang(parent, 1);
        let node =
            Node { parent: Some(parent), children: 0, limit: None, level: 0, filled: now, hungry: false };
        self.nodes.insert(id, node);
        id
    }

    /// Takes a node out; those below it hang on its parent. The root stays.
    pub fn remove(&mut self, id: NodeId) {
        let Some(parent) = self.nodes.get(&id).and_then(|node| node.parent) else { return };
        let children = self.nodes.remove(&id).map_or(0, |node| node.children);
        self.wants.remove(&id);
        self.hang(parent, -1);
        // Mostly whoever hung on it has gone before.
        if children > 0 {
            for node in self.nodes.values_mut().filter(|node| node.parent == Some(id)) {
                node.parent = Some(parent);
            }
            self.hang(parent, children.cast_signed());
        }
    }

    /// So many more nodes hang on this one, or fewer.
    fn hang(&mut self, id: NodeId, more: isize) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.children = node.children.saturating_add_signed(more);
        }
    }

    /// Hangs a node below another one; nothing changes where that would make a circle.
    pub fn reparent(&mut self, id: NodeId, parent: NodeId) {
        let Some(before) = self.nodes.get(&id).and_then(|node| node.parent) else { return };
        if !self.nodes.contains_key(&parent) || self.path(parent).any(|above| above == id) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.parent = Some(parent);
        }
        self.hang(before, -1);
        self.hang(parent, 1);
    }

    /// Sets a node's limit in bytes a second; `None` for no limit. What was kept under the old one is gone.
    pub fn set_limit(&mut self, now: Time, id: NodeId, limit: Option<u64>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.limit = limit;
            node.level = 0;
            node.filled = now;
        }
    }

    /// A node's own limit.
    pub fn limit(&self, id: NodeId) -> Option<u64> {
        self.nodes.get(&id).and_then(|node| node.limit)
    }

    /// Whether a limit of its own or of somebody above holds for a node.
    pub fn is_limited(&self, id: NodeId) -> bool {
        self.path(id).any(|id| self.limit(id).is_some())
    }

    /// Whether a node stands below another one, or is it.
    pub fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        self.path(id).any(|id| id == above)
    }

    /// From a node up to the root.
    fn path(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        core::iter::successors(Some(id), |id| self.nodes.get(id).and_then(|node| node.parent))
    }

    /// A node would like to move this many bytes; its last word holds.
    pub fn want(&mut self, id: NodeId, bytes: u64) {
        if bytes == 0 || !self.nodes.contains_key(&id) {
            self.wants.remove(&id);
        } else {
            self.wants.insert(id, bytes);
        }
    }

    /// Whether anybody wants anything.
    pub fn is_idle(&self) -> bool {
        self.wants.is_empty()
    }

    /// Deals out what has become due. Who gets something no longer wants anything, until it says so again.
    pub fn deal(&mut self, now: Time) -> Vec<Dealt> {
        if self.wants.is_empty() {
            return Vec::new();
        }
        let mut below: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for &leaf in self.wants.keys() {
            let mut child = leaf;
            for id in self.path(leaf).skip(1) {
                let children = below.entry(id).or_default();
                if children.contains(&child) {
                    break;
                }
                children.push(child);
                child = id;
            }
        }
        self.turn = self.turn.wrapping_add(1);
        let mut most = BTreeMap::new();
        self.measure(now, Self::ROOT, &below, &mut most);
        let all = most.get(&Self::ROOT).copied().unwrap_or(0);
        let mut dealt = Vec::new();
        self.divide(Self::ROOT, all, &below, &most, &mut dealt);
        for Dealt { node, .. } in &dealt {
            self.wants.remove(node);
        }
        dealt
    }

    /// The most that a node and those below it can take, for every node that has something to do with it.
    fn measure(
        &mut self,
        now: Time,
        id: NodeId,
        below: &BTreeMap<NodeId, Vec<NodeId>>,
        most: &mut BTreeMap<NodeId, u64>,
    ) -> u64 {
        let mut wanted = self.wants.get(&id).copied().unwrap_or(0);
        for &child in below.get(&id).into_iter().flatten() {
            wanted = wanted.saturating_add(self.measure(now, child, below, most));
        }
        let Some(node) = self.nodes.get_mut(&id) else { return 0 };
        let can = match node.limit {
            None => wanted,
            Some(limit) => {
                node.fill(now, limit);
                let due = u64::try_from(node.level / NANOS).unwrap_or(u64::MAX);
                node.hungry = due < wanted;
                due.min(wanted)
            }
        };
        most.insert(id, can);
        can
    }

    /// Gives a node these bytes, for itself and those below it.
    fn divide(
        &mut self,
        id: NodeId,
        bytes: u64,
        below: &BTreeMap<NodeId, Vec<NodeId>>,
        most: &BTreeMap<NodeId, u64>,
        dealt: &mut Vec<Dealt>,
    ) {
        if bytes == 0 {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&id)
            && node.limit.is_some()
        {
            node.level = node.level.saturating_sub(u128::from(bytes) * NANOS);
        }
        let Some(children) = below.get(&id) else {
            dealt.push(Dealt { node: id, bytes });
            return;
        };
        let can = |child: &NodeId| most.get(child).copied().unwrap_or(0);
        // Those who can take least come first: what they leave is for the others. Among equals all take turns.
        let mut order: Vec<NodeId> = children.clone();
        let first = self.turn as usize % order.len().max(1);
        order.rotate_left(first);
        order.sort_by_key(can);
        let mut left = bytes;
        let count = order.len();
        for (served, child) in order.into_iter().enumerate() {
            let among = (count - served) as u64;
            let share = left.div_ceil(among).min(can(&child)).min(left);
            left -= share;
            self.divide(child, share, below, most, dealt);
        }
    }
}

impl Node {
    fn fill(&mut self, now: Time, limit: u64) {
        let passed = now.since(self.filled).min(LONGEST);
        self.filled = now;
        self.level = self.level.saturating_add(passed.as_nanos() * u128::from(limit));
        // While somebody waits nothing is lost; else no more than a burst is kept.
        if !self.hungry {
            self.level = self.level.min(BURST.as_nanos() * u128::from(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    /// Runs a tree whose leaves want as much as they can get, in rounds of irregular length; what each got.
    fn run(
        tree: &mut Tree,
        from: Time,
        span: Duration,
        wants: &[(NodeId, u64)],
        seed: u64,
    ) -> BTreeMap<NodeId, u64> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut got: BTreeMap<NodeId, u64> = wants.iter().map(|&(leaf, _)| (leaf, 0)).collect();
        let end = from + span;
        let mut now = from;
        loop {
            for &(leaf, bytes) in wants {
                tree.want(leaf, bytes);
            }
            for Dealt { node, bytes } in tree.deal(now) {
                *got.entry(node).or_default() += bytes;
            }
            if now == end {
                break;
            }
            // Rounds are late at times.
            let late = if rng.u8(..10) == 0 { rng.u64(..400) } else { 0 };
            now = (now + ROUND + Duration::from_millis(late)).min(end);
        }
        got
    }

    const ALL: u64 = u64::MAX / 4;

    #[test]
    fn nobody_is_limited_until_a_limit_is_set() {
        let mut tree = Tree::new(Time::ZERO);
        let torrent = tree.add(Time::ZERO, Tree::ROOT);
        let peer = tree.add(Time::ZERO, torrent);
        assert!(!tree.is_limited(peer));
        tree.want(peer, 1_000_000);
        assert_eq!(tree.deal(Time::ZERO), [Dealt { node: peer, bytes: 1_000_000 }]);
        tree.set_limit(Time::ZERO, Tree::ROOT, Some(1_000));
        assert!(tree.is_limited(peer));
        tree.set_limit(Time::ZERO, Tree::ROOT, None);
        assert!(!tree.is_limited(peer));
    }

    #[test]
    fn what_one_leaves_the_others_get() {
        let mut tree = Tree::new(Time::ZERO);
        tree.set_limit(Time::ZERO, Tree::ROOT, Some(100_000));
        let leaves: Vec<NodeId> = (0..3).map(|_| tree.add(Time::ZERO, Tree::ROOT)).collect();
        tree.set_limit(Time::ZERO, leaves[0], Some(10_000));
        let wants: Vec<_> = leaves.iter().map(|&leaf| (leaf, ALL)).collect();
        let got = run(&mut tree, Time::ZERO, Duration::from_secs(10), &wants, 1);
        let near = |leaf: usize, wanted: f64| {
            let ratio = got[&leaves[leaf]] as f64 / wanted;
            assert!((0.98..1.02).contains(&ratio), "leaf {leaf}: {ratio}");
        };
        near(0, 100_000.0);
        near(1, 450_000.0);
        near(2, 450_000.0);
    }

    #[test]
    fn torrents_share_evenly_however_many_peers_they_have() {
        let mut tree = Tree::new(Time::ZERO);
        tree.set_limit(Time::ZERO, Tree::ROOT, Some(1_000_000));
        let few = tree.add(Time::ZERO, Tree::ROOT);
        let many = tree.add(Time::ZERO, Tree::ROOT);
        let mut wants = vec![(tree.add(Time::ZERO, few), ALL)];
        wants.extend((0..50).map(|_| (tree.add(Time::ZERO, many), ALL)));
        let got = run(&mut tree, Time::ZERO, Duration::from_secs(10), &wants, 2);
        let one = got[&wants[0].0] as f64;
        let others: u64 = wants[1..].iter().map(|(leaf, _)| got[leaf]).sum();
        assert!((0.98..1.02).contains(&(one / others as f64)), "{one} and {others}");
    }

    #[test]
    fn a_new_limit_holds_at_once() {
        let mut tree = Tree::new(Time::ZERO);
        tree.set_limit(Time::ZERO, Tree::ROOT, Some(10_000_000));
        let leaf = tree.add(Time::ZERO, Tree::ROOT);
        run(&mut tree, Time::ZERO, Duration::from_secs(5), &[(leaf, ALL)], 3);
        let changed = Time::from_secs(10);
        tree.set_limit(changed, Tree::ROOT, Some(20_000));
        let got = run(&mut tree, changed, Duration::from_secs(10), &[(leaf, ALL)], 4);
        assert!((196_000..=204_000).contains(&got[&leaf]), "{}", got[&leaf]);
    }

    #[test]
    fn an_unused_limit_keeps_no_more_than_a_burst() {
        let mut tree = Tree::new(Time::ZERO);
        tree.set_limit(Time::ZERO, Tree::ROOT, Some(100_000));
        let leaf = tree.add(Time::ZERO, Tree::ROOT);
        let later = Time::from_secs(1_000);
        tree.want(leaf, ALL);
        assert_eq!(tree.deal(later), [Dealt { node: leaf, bytes: 10_000 }]);
    }

    #[test]
    fn those_below_a_node_that_goes_hang_on_its_parent() {
        let mut tree = Tree::new(Time::ZERO);
        let torrent = tree.add(Time::ZERO, Tree::ROOT);
        let peer = tree.add(Time::ZERO, torrent);
        tree.set_limit(Time::ZERO, torrent, Some(1));
        tree.remove(torrent);
        assert!(!tree.is_limited(peer) && tree.is_below(peer, Tree::ROOT));
        tree.reparent(Tree::ROOT, peer);
        assert!(!tree.is_below(Tree::ROOT, peer));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the limit, over ten seconds it is reached to 2 % where demand suffices, and never exceeded by
        /// more than a burst.
        #[test]
        fn limits_are_accurate(
            limit in prop_oneof![10_240_u64..100_000, 100_000_u64..10_000_000, 10_000_000_u64..20_000_000_000],
            peers in 1_usize..40,
            seed: u64,
        ) {
            let mut tree = Tree::new(Time::ZERO);
            tree.set_limit(Time::ZERO, Tree::ROOT, Some(limit));
            let wants: Vec<_> = (0..peers).map(|_| (tree.add(Time::ZERO, Tree::ROOT), ALL)).collect();
            let got = run(&mut tree, Time::ZERO, Duration::from_secs(10), &wants, seed);
            let all: u64 = got.values().sum();
            let ratio = all as f64 / (limit as f64 * 10.0);
            prop_assert!((0.98..1.02).contains(&ratio), "{ratio}");
            let (least, most) = (got.values().min().unwrap(), got.values().max().unwrap());
            prop_assert!(most - least <= 2 + most / 50, "{least} to {most}");
        }

        /// Nobody below a limit gets more than it, in any tree and with any demand.
        #[test]
        fn no_limit_is_exceeded(
            limits in prop::collection::vec(prop::option::of(1_000_u64..1_000_000), 1..12),
            parents in prop::collection::vec(0_u32..12, 12),
            demand in prop::collection::vec(0_u64..200_000, 12),
            seed: u64,
        ) {
            let mut tree = Tree::new(Time::ZERO);
            let mut nodes = vec![Tree::ROOT];
            for (limit, parent) in limits.iter().zip(&parents) {
                let id = tree.add(Time::ZERO, nodes[*parent as usize % nodes.len()]);
                tree.set_limit(Time::ZERO, id, *limit);
                nodes.push(id);
            }
            let inner: Vec<NodeId> = nodes.iter().filter_map(|id| tree.nodes[id].parent).collect();
            let leaves = nodes.iter().filter(|id| !inner.contains(id));
            let wants: Vec<_> = leaves.zip(&demand).map(|(&leaf, &bytes)| (leaf, bytes)).collect();
            let span = Duration::from_secs(5);
            let got = run(&mut tree, Time::ZERO, span, &wants, seed);
            for &id in &nodes {
                let below: u64 = got.iter().filter(|(leaf, _)| tree.is_below(**leaf, id)).map(|(_, bytes)| bytes).sum();
                if let Some(limit) = tree.limit(id) {
                    let most = limit as f64 * (span + BURST + 2 * ROUND).as_secs_f64() + 1.0;
                    prop_assert!(below as f64 <= most, "{below} bytes under {limit} a second");
                }
            }
        }
    }
}
