//! The distributed hash table for whoever uses the library: its figures, and searches of one's own.

use crate::driver::dht::{Command, Desk, Goal};
use crate::{Error, Result};
pub use quelea_dht::gate::Allowance as DhtAllowance;
pub use quelea_dht::item::{Invalid, Ownership, public_key, target_of};
pub use quelea_dht::{Announce, Found, Id, Item, Stats};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What one search may tell before it is read. The machine tells less in all, so that nothing is lost.
const TOLD: usize = 1_024;

/// A secret Ed25519 key for items that can be changed, from the system's random numbers.
///
/// # Errors
/// Where the system gives none.
pub fn make_secret() -> std::io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
    Ok(secret)
}

/// The session's node of the DHT (BEP 5, 32, 33, 42 to 46, 51). A cheap handle.
///
/// A search that is begun before the node has joined the network waits until it has, or until it is clear that
/// nobody answers. Every call fails with [`Error::Closed`] once the session is closed.
#[derive(Clone)]
pub struct Dht {
    desk: Arc<Desk>,
}

/// Whether the node has found the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It looks for nodes.
    Joining,
    /// It knows nodes that answer.
    Joined,
    /// Nobody answers; it goes on trying.
    Alone,
}

/// What has become of a node by which the network is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterState {
    /// Its name is being looked up, or will be.
    Resolving,
    /// It cannot be used; says why.
    Failed(String),
    /// It may have been asked, and has said nothing yet.
    Asked,
    /// It has answered.
    Answered,
}

/// A node by which the network is to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its host and port.
    pub name: String,
    /// What has become of it.
    pub state: RouterState,
}

/// How the node stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Whether it has found the network.
    pub standing: Standing,
    /// Its figures.
    pub stats: Stats,
    /// The nodes by which to join, those that torrents named included.
    pub routers: Vec<Router>,
    /// Torrents that are announced.
    pub announced: usize,
}

/// What a search tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Told {
    /// Peers, each told once.
    Peers(Vec<SocketAddr>),
    /// The item; again when a newer state of it is found.
    Item(Item),
    /// Torrents that a node knows (BEP 51).
    Torrents {
        /// The node.
        node: SocketAddr,
        /// Their info-hashes.
        info_hashes: Vec<Id>,
    },
    /// It is over.
    Done(Found),
}

/// A search under way. Dropping it ends the search.
#[derive(Debug)]
pub struct Search {
    told: mpsc::Receiver<Told>,
}

impl Search {
    /// What is found next; [`Told::Done`] comes last, and then `None`.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// Waits for the end: the newest item, if there was one, and what the search came to.
    async fn outcome(mut self) -> Result<(Option<Item>, Found)> {
        let mut item = None;
        while let Some(told) = self.next().await {
            match told {
                Told::Item(found) => item = Some(found),
                Told::Done(found) => return Ok((item, found)),
                Told::Peers(_) | Told::Torrents { .. } => {}
            }
        }
        Err(Error::Closed)
    }
}

impl std::fmt::Debug for Dht {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dht").finish_non_exhaustive()
    }
}

impl Dht {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    /// How the node stands.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn status(&self) -> Result<Status> {
        let (reply, status) = oneshot::channel();
        self.command(Command::Status(reply)).await?;
        status.await.map_err(|_| Error::Closed)
    }

    /// Comes once the node has found the network, or it is clear that nobody answers.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn joined(&self) -> Result<Standing> {
        let (reply, standing) = oneshot::channel();
        self.command(Command::Joined(reply)).await?;
        standing.await.map_err(|_| Error::Closed)
    }

    /// Tells of a node.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn add_node(&self, address: SocketAddr) -> Result<()> {
        self.command(Command::AddNode(address)).await
    }

    /// Looks for peers of a torrent, and announces us to the nodes nearest to it where `announce` says how. It is the
    /// caller's part to leave private torrents out (BEP 27); those that the session has are looked after by itself.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn find_peers(&self, info_hash: Id, announce: Option<Announce>) -> Result<Search> {
        self.search(Goal::Peers(info_hash, announce)).await
    }

    /// Looks for the nodes nearest to an id.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn find_nodes(&self, target: Id) -> Result<Found> {
        Ok(self.search(Goal::Nodes(target)).await?.outcome().await?.1)
    }

    /// Counts the seeds and peers of a torrent (BEP 33).
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn scrape(&self, info_hash: Id) -> Result<Found> {
        Ok(self.search(Goal::Scrape(info_hash)).await?.outcome().await?.1)
    }

    /// The item under its own hash (BEP 44), if a node has it.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn fixed_item(&self, target: Id) -> Result<(Option<Item>, Found)> {
        self.search(Goal::Fixed(target)).await?.outcome().await
    }

    /// The newest state of the item that belongs to an Ed25519 key (BEP 44), if a node has it.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn owned_item(&self, key: [u8; 32], salt: Vec<u8>) -> Result<(Option<Item>, Found)> {
        self.search(Goal::Owned { key, salt }).await?.outcome().await
    }

    /// Stores an item at the nodes nearest to it ([`Found::written`] says at how many). `replaces` is the sequence
    /// number that they must hold, if they hold any.
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn put(&self, item: Item, replaces: Option<i64>) -> Result<Found> {
        Ok(self.search(Goal::Store { item, replaces }).await?.outcome().await?.1)
    }

    /// Asks nodes on the way to an id which torrents they know (BEP 51).
    ///
    /// # Errors
    /// See [`Dht`].
    pub async fn sample_infohashes(&self, target: Id) -> Result<Search> {
        self.search(Goal::Samples(target)).await
    }

    async fn search(&self, goal: Goal) -> Result<Search> {
        let (teller, told) = mpsc::channel(TOLD);
        self.command(Command::Search { goal, told: teller }).await?;
        Ok(Search { told })
    }

    async fn command(&self, command: Command) -> Result<()> {
        self.desk.commands.send(command).await.map_err(|_| Error::Closed)
    }
}
