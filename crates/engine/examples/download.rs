//! Downloads a torrent and says how it goes.
//!
//! ```text
//! cargo run --release -p quelea --example download -- FILE.torrent [DIRECTORY]
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)]

use quelea::{AddTorrent, Event, Session, Settings};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which torrent? give its file")?;
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());

    let session = Session::start(Settings::new(directory))?;
    let mut events = session.events();
    let torrent = session.add(AddTorrent::from_file(file)?).await?;
    println!("downloading {}, peers can reach us at port {}", torrent.name(), session.port());
    // What was complete already has been said before anybody listened.
    while torrent.snapshot().fraction() < 1.0 {
        match events.next().await {
            Some(Event::Progress(_, snapshot)) => println!("{snapshot}"),
            Some(Event::Completed(_)) => break,
            Some(Event::Failed { message, .. }) => return Err(message.into()),
            Some(other) => eprintln!("{other}"),
            None => break,
        }
    }
    session.close().await;
    println!("{}", torrent.snapshot());
    Ok(())
}
