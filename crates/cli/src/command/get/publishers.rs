//! The publishers' links of a `get`: what the DHT says they lead to, now and later.

use super::Downloads;
use quelea::{Error, Publisher, Result};
use quelea_metainfo::Magnet;
use tokio::task::JoinSet;

/// What a publisher's link leads to.
pub(super) struct Published {
    source: String,
    publisher: Publisher,
    is_first: bool,
    result: Result<Magnet>,
}

/// All publishers who are followed.
#[derive(Default)]
pub(super) struct Publishers {
    followed: JoinSet<Published>,
    /// Those of whom nothing was found yet.
    awaited: usize,
}

impl Publishers {
    /// Whether something, or that there is nothing, was found of each.
    pub(super) const fn are_found(&self) -> bool {
        self.awaited == 0
    }

    /// Looks up what is published, and what will be.
    pub(super) fn follow(&mut self, source: String, publisher: Publisher) {
        self.awaited += 1;
        self.look(source, publisher, true);
    }

    fn look(&mut self, source: String, mut publisher: Publisher, is_first: bool) {
        self.followed.spawn(async move {
            let result = publisher.next().await;
            Published { source, publisher, is_first, result }
        });
    }

    /// The next thing that was published; never when nobody is followed.
    pub(super) async fn next(&mut self) -> Published {
        loop {
            match self.followed.join_next().await {
                Some(Ok(published)) => return published,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Downloads<'_> {
    /// A publisher's link leads to this torrent.
    pub(super) fn published(&mut self, published: Published) {
        let Published { source, publisher, is_first, result } = published;
        self.publishers.awaited -= usize::from(is_first);
        match result {
            Ok(magnet) => {
                if !is_first {
                    self.report.say(&format!("{source}: the publisher names another torrent now"));
                }
                self.follow(source.clone(), magnet, None);
                self.publishers.look(source, publisher, false);
            }
            Err(Error::Closed) if !is_first => {}
            Err(error) => self.fail(&source, None, &error.into()),
        }
    }
}
