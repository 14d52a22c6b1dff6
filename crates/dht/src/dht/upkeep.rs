//! Keeping the tables filled with nodes that answer, and forgetting what is old.

use super::ask::Why;
use super::{Dht, Side};
use crate::Id;
use crate::packet::Method;
use crate::table::{K, Table};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use quelea_time::Time;

/// How often the tables are looked at.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How many nodes that were silent for long are pinged each time.
const PINGS: usize = 4;
/// How often what is old is forgotten.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// The first pause before joining again, and the longest.
const JOIN_PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

impl Dht {
    pub(super) fn keep_up(&mut self, now: Time) {
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRE_EVERY;
            self.peers.expire(now);
            self.items.expire(now);
        }
        for family in [0, 1] {
            self.join(now, family);
            self.ping_and_refresh(now, family);
        }
        self.end_idle_searches();
    }

    /// Looks for our own neighbourhood while few nodes are known.
    fn join(&mut self, now: Time, family: usize) {
        let walking = self.walks.values().any(|running| running.family == family && running.search.is_none());
        let Some(side) = &mut self.sides[family] else { return };
        let lonely = side.table.len() < K;
        let knows_somebody = !side.routers.is_empty() || !side.named.is_empty() || !side.table.is_empty();
        if !lonely || walking || now < side.next_join || !knows_somebody {
            return;
        }
        side.join_pause = (side.join_pause * 2).clamp(JOIN_PAUSE[0], JOIN_PAUSE[1]);
        side.next_join = now + side.join_pause;
        let own = side.table.own();
        self.begin_walk(now, family, own, None);
    }

    fn ping_and_refresh(&mut self, now: Time, family: usize) {
        let walking = self.walks.values().any(|running| running.family == family && running.search.is_none());
        let Some(side) = &mut self.sides[family] else { return };
        let stale: Vec<_> = core::iter::from_fn(|| side.table.stale(now)).take(PINGS).collect();
        for entry in stale {
            self.ask(now, entry.address, Some(entry.id), Method::Ping, Why::Ping);
        }
        let Some(side) = &mut self.sides[family] else { return };
        if !walking
            && !side.table.is_empty()
            && let Some(target) = side.table.stale_bucket(now, &mut self.rng)
        {
            self.begin_walk(now, family, target, None);
        }
    }

    /// A walk that fills the table is over.
    pub(super) fn table_walk_over(&mut self, now: Time, family: usize) {
        let Some(side) = &mut self.sides[family] else { return };
        if side.table.len() >= K {
            side.join_pause = Duration::ZERO;
            side.next_join = now;
        }
    }

    /// Our address is known: from here on we have an id that fits it (BEP 42), and a table around that.
    pub(super) fn take_fitting_id(&mut self, now: Time, family: usize, address: IpAddr) {
        let Some(side) = &mut self.sides[family] else { return };
        if side.table.own().fits(address) {
            return;
        }
        let own = Id::for_address(address, &mut self.rng);
        let Side { table, .. } = side;
        let mut around = Table::new(own);
        for entry in table.iter() {
            around.answered(entry.answered, entry.id, entry.address, !entry.reachable);
        }
        side.table = around;
        self.begin_walk(now, family, own, None);
    }
}
