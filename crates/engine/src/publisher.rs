//! Following a publisher: what a link to their key leads to now, and whatever it leads to later (BEP 46).

use crate::{Error, Result, Session};
use quelea_dht::Item;
use quelea_metainfo::{Magnet, PublisherLink};
use std::time::Duration;

/// How often it is looked whether something else was published, unless told otherwise. Nodes keep an item for two hours
/// (BEP 44), and whoever follows it stores it anew.
const EVERY: Duration = Duration::from_secs(3_600);

/// A publisher who is followed: see [`Session::follow_publisher`].
#[derive(Debug)]
pub struct Publisher {
    session: Session,
    link: PublisherLink,
    every: Duration,
    newest: Option<Item>,
}

impl Publisher {
    pub(crate) fn new(session: Session, link: PublisherLink) -> Self {
        Self { session, link, every: EVERY, newest: None }
    }

    /// Looks so often, instead of once an hour.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// The link to what is published: the first time at once, afterwards as soon as it is known to be another torrent. What
    /// was found is kept alive in the DHT meanwhile.
    ///
    /// # Errors
    /// The first time [`Error::NoDht`], [`Error::Unpublished`] and [`Error::Metainfo`], when what is published names no
    /// torrent; at any time [`Error::Closed`].
    pub async fn next(&mut self) -> Result<Magnet> {
        let Some(mut newest) = self.newest.take() else {
            let item = self.look_up().await?;
            let magnet = self.link.resolve(&item.value)?;
            self.newest = Some(item);
            return Ok(magnet);
        };
        loop {
            // What is awaited may be given up at any time.
            self.newest = Some(newest.clone());
            tokio::time::sleep(self.every).await;
            let found = match self.look_up().await {
                Ok(found) => found,
                Err(error @ Error::Closed) => return Err(error),
                // Whatever it is, it may be over the next time.
                Err(error) => {
                    tracing::debug!(%error, "a publisher was not found");
                    newest.clone()
                }
            };
            let is_newer = found.sequence() > newest.sequence();
            let before =
                if is_newer { std::mem::replace(&mut newest, found).value } else { newest.value.clone() };
            if let Some(dht) = self.session.dht() {
                dht.put(newest.clone(), None).await?;
            }
            if let Ok(magnet) = self.link.resolve(&newest.value)
                && before != newest.value
            {
                self.newest = Some(newest);
                return Ok(magnet);
            }
        }
    }

    async fn look_up(&self) -> Result<Item> {
        let dht = self.session.dht().ok_or(Error::NoDht)?;
        let (item, found) = dht.owned_item(self.link.key, self.link.salt.clone()).await?;
        item.ok_or(Error::Unpublished { nodes: found.nodes.len() })
    }
}
