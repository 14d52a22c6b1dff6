//! A session with all torrents of a folder, for `bench/many.py`.
//!
//! ```text
//! many add     TORRENTS DATA STATE ADDRESS PORT    adds them; their data lie in DATA
//! many restore TORRENTS DATA STATE ADDRESS PORT    brings back those that the state has
//! ```
//!
//! It says `ready` when all of them seed, and stays until its standard input ends.
#![allow(clippy::print_stdout)]

use quelea::{AddTorrent, Session, Settings, State};
use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

/// Torrents that are read and added at a time.
const AT_ONCE: usize = 64;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, torrents, data, state, address, port] = arguments.as_slice() else {
        return Err("many add|restore TORRENTS DATA STATE ADDRESS PORT".into());
    };
    let mut settings = Settings::new(data);
    settings.state_dir = Some(PathBuf::from(state));
    settings.bind = vec![address.parse()?];
    settings.port = port.parse()?;
    settings.rest_after = Duration::from_secs(1);
    settings.queue.downloads = None;
    let session = Session::start(settings)?;
    let restored = session.restore().await?;
    if task == "add" {
        add_all(&session, Path::new(torrents)).await?;
    } else if restored.is_empty() && std::fs::read_dir(torrents)?.next().is_some() {
        return Err("the state has no torrents".into());
    }
    for torrent in session.torrents() {
        while torrent.snapshot().state != State::Seeding {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    session.close().await;
    Ok(())
}

async fn add_all(session: &Session, torrents: &Path) -> Result<()> {
    let mut adding = JoinSet::new();
    for entry in std::fs::read_dir(torrents)? {
        if adding.len() == AT_ONCE
            && let Some(added) = adding.join_next().await
        {
            added??;
        }
        let torrent = AddTorrent::from_file(entry?.path())?;
        let session = session.clone();
        adding.spawn(async move { session.add(torrent).await });
    }
    while let Some(added) = adding.join_next().await {
        added??;
    }
    Ok(())
}
