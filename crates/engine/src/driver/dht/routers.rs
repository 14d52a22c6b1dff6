//! The nodes by which the network is joined: their names are looked up while few nodes are known.

use crate::dht::{Router, RouterState};
use quelea_metainfo::Address;
use quelea_net::Binding;
use quelea_time::Time;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The first pause after a name could not be looked up, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(600)];
/// A name is looked up again after this, while nobody is known.
const AGAIN: Duration = Duration::from_secs(600);
/// Names looked up at a time, and of torrents remembered beside those of the settings.
const AT_ONCE: usize = 8;
const OF_TORRENTS: usize = 32;

struct Row {
    name: String,
    address: Option<Address>,
    state: RouterState,
    /// When it is looked up next; `None` while it is.
    due: Option<Time>,
    pause: Duration,
    addresses: Vec<SocketAddr>,
}

/// The nodes by which the network is joined.
pub(super) struct Routers {
    binding: Arc<Binding>,
    rows: Vec<Row>,
    lookups: JoinSet<(String, io::Result<Vec<SocketAddr>>)>,
    of_torrents: usize,
}

impl Routers {
    pub(super) fn new(binding: Arc<Binding>, now: Time, names: &[String]) -> Self {
        let mut routers = Self { binding, rows: Vec::new(), lookups: JoinSet::new(), of_torrents: 0 };
        names.iter().for_each(|name| routers.push(now, name));
        routers
    }

    fn push(&mut self, now: Time, name: &str) {
        if self.rows.iter().any(|row| row.name == name) {
            return;
        }
        let address = Address::parse(name);
        let state = match &address {
            Some(_) => RouterState::Resolving,
            None => RouterState::Failed("not of the form HOST:PORT".to_owned()),
        };
        let due = address.is_some().then_some(now);
        let name = name.to_owned();
        self.rows.push(Row { name, address, state, due, pause: Duration::ZERO, addresses: Vec::new() });
    }

    /// A torrent names a node (BEP 5, `nodes`).
    pub(super) fn add(&mut self, now: Time, name: &str) {
        if self.of_torrents < OF_TORRENTS {
            self.of_torrents += 1;
            self.push(now, name);
        }
    }

    /// When a name is to be looked up.
    pub(super) fn timeout(&self) -> Option<Time> {
        let room = self.lookups.len() < AT_ONCE;
        self.rows.iter().filter_map(|row| row.due).min().filter(|_| room)
    }

    /// Begins to look up what is due.
    pub(super) fn look_up(&mut self, now: Time) {
        for row in &mut self.rows {
            if self.lookups.len() >= AT_ONCE {
                return;
            }
            let Some(address) = row.address.as_ref().filter(|_| row.due.is_some_and(|due| due <= now)) else {
                continue;
            };
            row.due = None;
            let name = row.name.clone();
            let (host, port) = match address {
                Address::Ip(address) => (address.ip().to_string(), address.port()),
                Address::Name(host, port) => (host.clone(), *port),
            };
            let binding = Arc::clone(&self.binding);
            self.lookups.spawn(async move { (name, quelea_net::resolve(&binding, &host, port).await) });
        }
    }

    /// The next name that was looked up: its addresses, or none.
    pub(super) async fn looked_up(&mut self) -> (String, io::Result<Vec<SocketAddr>>) {
        loop {
            match self.lookups.join_next().await {
                Some(Ok(outcome)) => return outcome,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// What became of a look-up. The addresses to ask.
    pub(super) fn handle(
        &mut self,
        now: Time,
        name: &str,
        outcome: io::Result<Vec<SocketAddr>>,
    ) -> Vec<SocketAddr> {
        let Some(row) = self.rows.iter_mut().find(|row| row.name == name) else { return Vec::new() };
        match outcome {
            Ok(addresses) => {
                row.state = RouterState::Asked;
                row.pause = Duration::ZERO;
                row.due = Some(now + AGAIN);
                row.addresses.clone_from(&addresses);
                addresses
            }
            Err(error) => {
                tracing::debug!(router = name, %error, "not found");
                row.state = RouterState::Failed(error.to_string());
                row.pause = (row.pause * 2).clamp(PAUSE[0], PAUSE[1]);
                row.due = Some(now + row.pause);
                Vec::new()
            }
        }
    }

    /// Somebody said something: perhaps it is one of these.
    pub(super) fn heard(&mut self, from: SocketAddr) {
        for row in &mut self.rows {
            if row.state == RouterState::Asked && row.addresses.contains(&from) {
                row.state = RouterState::Answered;
            }
        }
    }

    /// Whether each was looked up, whatever came of it.
    pub(super) fn all_tried(&self) -> bool {
        self.rows.iter().all(|row| row.state != RouterState::Resolving)
    }

    /// Whether there is one that may yet answer.
    pub(super) fn any_asked(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.state, RouterState::Asked | RouterState::Answered))
    }

    /// How they stand.
    pub(super) fn statuses(&self) -> Vec<Router> {
        self.rows.iter().map(|row| Router { name: row.name.clone(), state: row.state.clone() }).collect()
    }
}
