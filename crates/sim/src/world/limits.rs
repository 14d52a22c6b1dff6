//! Nodes that limit themselves: links that may not send wait until their node's limits give them something.

use super::{Happening, World};
use crate::invariants::Violation;
use crate::link::{LinkId, Side};
use quelea_swarm::limit::ROUND;

impl World {
    /// Bytes that a link may send now. Where that is none, it is told when it may.
    pub(super) fn allowance(&mut self, number: usize, link: (LinkId, Side)) -> usize {
        let now = self.now();
        let node = &mut self.nodes[number];
        let Some(limiter) = node.present.as_mut().and_then(|present| present.limiter.as_mut()) else {
            return usize::MAX;
        };
        let allowance = limiter.allowance(link);
        if allowance == 0 {
            self.faults.held_back += 1;
            limiter.ask(now, link);
            if !core::mem::replace(&mut limiter.is_planned, true) {
                self.agenda.plan(now + ROUND, Happening::Deal { node: number, life: node.life });
            }
        }
        allowance
    }

    /// A link has sent this much.
    pub(super) fn note_sent(
        &mut self,
        number: usize,
        link: (LinkId, Side),
        bytes: usize,
    ) -> Result<(), Violation> {
        let now = self.now();
        let node = &mut self.nodes[number];
        let limiter = node.present.as_mut().and_then(|present| present.limiter.as_mut());
        if limiter.is_none_or(|limiter| limiter.sent(now, link, bytes)) {
            return Ok(());
        }
        let name = node.name.clone();
        Err(self.violation(format!("{name} sends more than its limits allow")))
    }

    /// What is due is dealt out, and whoever got something takes its turn at the uplink.
    pub(super) fn deal(&mut self, number: usize) -> Result<(), Violation> {
        let now = self.now();
        let node = &mut self.nodes[number];
        let Some(limiter) = node.present.as_mut().and_then(|present| present.limiter.as_mut()) else {
            return Ok(());
        };
        let (links, again) = limiter.deal(now);
        limiter.is_planned = again;
        if again {
            self.agenda.plan(now + ROUND, Happening::Deal { node: number, life: node.life });
        }
        for (id, side) in links {
            self.queue(id, side);
        }
        self.settle(number)
    }
}
