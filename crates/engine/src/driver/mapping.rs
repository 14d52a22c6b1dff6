//! Carries what the mapper wants to the gateway, one thing after the other, and its answers back.
//!
//! A gateway may be anybody's: each answer is awaited for a bounded time ([`PATIENCE`]) and is bounded in size (a
//! datagram, or 1 MiB of XML), and what it says is shown only cleaned and cut ([`words`]).

mod nat_pmp;
mod pcp;
mod route;
mod upnp;

pub(crate) use route::route;

use crate::clock::Clock;
use crate::outside::Outside;
use quelea_discovery::mapping::{Ask, AskId, Grant, Mapper, Mapping, Method, Output, Trouble};
use quelea_net::Binding;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// An ask has come to something by then.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often the routing table is looked at: somebody may carry the machine elsewhere.
const LOOK: Duration = Duration::from_secs(15);
/// Longest text of a gateway that is shown, in characters.
const WORDS: usize = 120;

/// Of which network a gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The task that keeps a port forwarded by the gateway of one family.
pub(crate) struct MappingTask {
    pub(crate) family: Family,
    pub(crate) mapper: Mapper,
    pub(crate) outside: Arc<Outside>,
    pub(crate) clock: Clock,
    pub(crate) binding: Arc<Binding>,
    /// Everything is to be given back; what comes is dropped when that is done.
    pub(crate) stop: mpsc::Receiver<oneshot::Sender<()>>,
    /// Names our mappings to a PCP server (RFC 6887, section 11.2).
    pub(crate) nonce: [u8; 12],
}

/// Speaks to gateways.
struct Gateways {
    upnp: upnp::Upnp,
    nonce: [u8; 12],
}

/// What is to be said to the gateway.
enum Job {
    Ask(Ask),
    Release(Mapping),
}

impl MappingTask {
    /// Runs until it is told to stop, or until the session is gone.
    pub(crate) async fn run(mut self) {
        let gateways = Arc::new(Gateways { upnp: upnp::Upnp::default(), nonce: self.nonce });
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut doubts = self.outside.doubts();
        let mut jobs = VecDeque::new();
        // One at a time: a mapping that is given back and asked for anew must not lose to its own end.
        let mut under_way: JoinSet<Option<(AskId, Result<Grant, Trouble>)>> = JoinSet::new();
        let done = loop {
            self.drain(&mut jobs);
            if under_way.is_empty()
                && let Some(job) = jobs.pop_front()
            {
                under_way.spawn(Arc::clone(&gateways).carry(job));
            }
            let due = self.mapper.timeout();
            tokio::select! {
                Some(answer) = under_way.join_next(), if !under_way.is_empty() => {
                    if let Ok(Some((id, answer))) = answer {
                        self.mapper.handle_answer(self.clock.now(), id, answer);
                    }
                }
                () = self.clock.sleep_until(due) => self.mapper.handle_timeout(self.clock.now()),
                _ = look.tick() => self.mapper.handle_route(self.clock.now(), route(&self.binding, self.family)),
                Ok(()) = doubts.changed() => self.mapper.handle_doubt(self.clock.now()),
                stop = self.stop.recv() => match stop {
                    Some(done) => break done,
                    None => return,
                },
            }
        };
        under_way.abort_all();
        self.mapper.stop();
        jobs.clear();
        self.drain(&mut jobs);
        let mut releases = JoinSet::new();
        for job in jobs {
            releases.spawn(Arc::clone(&gateways).carry(job));
        }
        releases.join_all().await;
        drop(done);
    }

    /// Takes up what the mapper wants, and tells what it tells.
    fn drain(&mut self, jobs: &mut VecDeque<Job>) {
        while let Some(output) = self.mapper.poll_output() {
            match output {
                Output::Ask(ask) => jobs.push_back(Job::Ask(ask)),
                Output::Release(mapping) => {
                    self.outside.unmapped(&mapping);
                    jobs.push_back(Job::Release(mapping));
                }
                Output::Mapped(mapping) => self.outside.mapped(mapping),
                Output::Lost(mapping) => self.outside.lost(mapping),
                Output::Unmapped(reasons) => match self.family {
                    Family::V4 => self.outside.not_mapped(&reasons),
                    // There most routers cannot be asked, and no user can help it.
                    Family::V6 => {
                        tracing::debug!(?reasons, "the router does not let others in by IPv6");
                    }
                },
            }
        }
    }
}

impl Gateways {
    async fn carry(self: Arc<Self>, job: Job) -> Option<(AskId, Result<Grant, Trouble>)> {
        match job {
            Job::Ask(ask) => {
                let answer = tokio::time::timeout(PATIENCE, self.ask(&ask)).await;
                let answer = answer.unwrap_or_else(|_| Err(Trouble::Failed("no answer".to_owned())));
                tracing::debug!(?ask, ?answer, "asked the gateway");
                Some((ask.id, answer))
            }
            Job::Release(mapping) => {
                let released = tokio::time::timeout(PATIENCE, self.release(&mapping)).await;
                if !matches!(released, Ok(Ok(()))) {
                    tracing::debug!(
                        ?mapping,
                        ?released,
                        "the gateway goes on forwarding until the lease ends"
                    );
                }
                None
            }
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Grant, Trouble> {
        match (ask.method, ask.route.gateway) {
            (Method::Upnp, _) => self.upnp.ask(ask).await,
            (Method::Pcp, Some(gateway)) => pcp::ask(gateway, ask, self.nonce).await,
            (Method::NatPmp, Some(gateway)) => nat_pmp::ask(gateway, ask).await,
            (Method::Pcp | Method::NatPmp, None) => {
                Err(Trouble::Failed("the gateway is not known".to_owned()))
            }
        }
    }

    async fn release(&self, mapping: &Mapping) -> Result<(), String> {
        match (mapping.method, mapping.gateway) {
            (Method::Upnp, _) => self.upnp.release(mapping).await,
            (Method::Pcp, Some(gateway)) => pcp::release(gateway, mapping, self.nonce).await,
            (Method::NatPmp, Some(gateway)) => nat_pmp::release(gateway, mapping).await,
            (Method::Pcp | Method::NatPmp, None) => Ok(()),
        }
    }
}

/// A lease as all the protocols count it, in seconds; 0 would mean something else in each.
fn seconds(lease: Duration) -> u32 {
    u32::try_from(lease.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// What went wrong, in words that can be shown: a gateway's own may be long, and may steer a terminal.
fn words(error: &dyn std::fmt::Display) -> String {
    let mut text = String::new();
    let mut cut = Cut { text: &mut text, left: WORDS };
    // Where there is no room left, the rest is not wanted.
    let _ = std::fmt::Write::write_fmt(&mut cut, format_args!("{error}"));
    text
}

/// Takes so many characters, none of them to control anything.
struct Cut<'a> {
    text: &'a mut String,
    left: usize,
}

impl std::fmt::Write for Cut<'_> {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        for character in more.chars() {
            self.left = self.left.checked_sub(1).ok_or(std::fmt::Error)?;
            self.text.push(if character.is_control() { ' ' } else { character });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_says_is_cut_and_cleaned() {
        let said = format!("\x1b[2Jno\n{}", "x".repeat(1 << 20));
        let shown = words(&said);
        assert!(shown.starts_with(" [2Jno x") && shown.chars().count() == WORDS, "{shown}");
    }
}
