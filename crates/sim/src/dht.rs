//! Networks of nodes of the distributed hash table in virtual time: the very machine that runs in production,
//! [`quelea_dht::Dht`], thousands of times, with churn, NATs, lost and late datagrams, and nodes that lie.
//!
//! ```text
//! Plan --run--> Outcome        who looks up what, and whether it was found
//! Siege --run--> Losses        attackers with few addresses against one torrent, or against one node
//!
//!   world   hosts and datagrams between them, NATs, churn
//!   lie     what a liar answers
//!   trial   publishing, looking up, and what should have been found
//!   siege   attackers that gather around a target
//! ```
//!
//! A host behind a NAT hears only those to whom it has sent something in the last two minutes, and takes part otherwise
//! like everybody. A liar runs the machine as well, so that it stands in tables like everybody, but answers look-ups as
//! [`lie`](self) says.

mod lie;
mod siege;
mod trial;
mod world;

pub use siege::{Aim, Losses, Siege};
pub use trial::Outcome;

use core::time::Duration;

/// What a network is made of, and how it is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Hosts at a time.
    pub nodes: usize,
    /// How many of a thousand lie.
    pub liars: u32,
    /// How many of a thousand are behind a NAT.
    pub natted: u32,
    /// How many of a thousand datagrams are lost.
    pub loss: u32,
    /// How long a host stays in the mean; another one comes when it leaves.
    pub stay: Duration,
    /// Ids that do not fit their addresses are left aside, instead of coming second (BEP 42).
    pub enforce_ids: bool,
    /// How long the network lives before it is tried.
    pub warm_up: Duration,
    /// How long it is tried.
    pub span: Duration,
    /// Torrents that are published and then looked for, and as many ids whose nearest nodes are looked for.
    pub lookups: usize,
    /// Another network for each.
    pub seed: u64,
}

impl Plan {
    /// The usual network: three in ten behind NATs, one datagram in a hundred lost, an hour's stay.
    pub fn new(nodes: usize, liars: u32) -> Self {
        Self {
            nodes,
            liars,
            natted: 300,
            loss: 10,
            stay: Duration::from_secs(3_600),
            enforce_ids: false,
            warm_up: Duration::from_secs(8 * 60),
            span: Duration::from_secs(3 * 60),
            lookups: 1_000,
            seed: 1,
        }
    }

    /// Builds the network, lets it live, and tries it.
    pub fn run(&self) -> Outcome {
        trial::run(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(liars: u32) -> Outcome {
        Plan {
            warm_up: Duration::from_secs(600),
            span: Duration::from_secs(240),
            lookups: 150,
            ..Plan::new(300, liars)
        }
        .run()
    }

    #[test]
    fn a_network_without_liars_finds_everything() {
        let outcome = small(0);
        assert!(outcome.peers.1 >= 130 && outcome.nodes.1 >= 130, "{outcome:?}");
        assert!(outcome.peers.1 - outcome.peers.0 <= 1, "{outcome:?}");
        assert!(outcome.nodes.1 - outcome.nodes.0 <= 1, "{outcome:?}");
        assert!(outcome.most_steps() <= 9, "{outcome:?}");
    }

    #[test]
    fn a_fifth_of_liars_hides_nothing() {
        let outcome = small(200);
        assert!(outcome.peers.1 >= 100 && outcome.lies > 1_000, "{outcome:?}");
        assert!(outcome.peers.1 - outcome.peers.0 <= 1, "{outcome:?}");
        assert!(outcome.nodes.1 - outcome.nodes.0 <= 2, "{outcome:?}");
        assert!(outcome.median_queries() <= 2 * Outcome::bound(300), "{outcome:?}");
        assert!(outcome.longest() < 30.0, "{outcome:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_network() {
        let plan = Plan {
            warm_up: Duration::from_secs(120),
            span: Duration::from_secs(60),
            lookups: 10,
            ..Plan::new(60, 100)
        };
        assert_eq!(plan.run(), plan.run());
        assert_ne!(plan.run(), Plan { seed: 2, ..plan }.run());
    }

    #[test]
    fn enforced_ids_keep_attackers_with_few_addresses_out() {
        for aim in [Aim::Torrent, Aim::Node] {
            let siege = Siege { targets: 8, ..Siege::new(300, aim, true) };
            let losses = siege.run();
            assert!(losses.tried >= 7, "{losses:?}");
            assert_eq!(losses.lost, 0, "{losses:?}");
            assert!(losses.attacks > 100, "{losses:?}");
        }
    }
}
