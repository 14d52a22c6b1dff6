//! The torrent of a magnet link for commands that do not download it: peers are asked, and that is all.

use crate::args::Discovery;
use crate::clock;
use crate::display;
use crate::exit::{self, Status};
use crate::figures::Figures;
use crate::progress;
use crate::report;
use crate::screen::Screen;
use crate::signals::Signals;
use crate::source::{Found, MagnetLink};
use quelea::{Event, Events, Fetching, MagnetRequest, Session, Settings};
use quelea_metainfo::{Magnet, Metainfo};
use std::net::SocketAddr;
use std::time::Duration;

/// How often the line on a terminal changes.
const FRAME: Duration = Duration::from_millis(250);
/// How often a line is written where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Why nothing can come of it.
pub(crate) const HOPELESS: &str = "there is nobody to ask: the link names no tracker and no peer, and neither the DHT \
                                   nor the local network is searched; name a peer with --peer";

/// Whether a link leads to nobody, unless somebody calls; `alone` says that nobody else is asked for peers.
pub(crate) fn is_hopeless(magnet: &Magnet, peers: &[SocketAddr], alone: bool) -> bool {
    alone && magnet.trackers.is_empty() && magnet.peers.is_empty() && peers.is_empty()
}

/// Asks peers what the torrent of a link is, and tells on standard error how far that is.
pub(crate) fn fetch(link: Found, discovery: &Discovery, quiet: bool) -> anyhow::Result<Metainfo> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetched = runtime.block_on(follow(link, discovery, quiet));
    runtime.shutdown_background();
    fetched
}

async fn follow(link: Found, discovery: &Discovery, quiet: bool) -> anyhow::Result<Metainfo> {
    let mut signals = Signals::listen()?;
    let mut settings = Settings::new(".");
    // Whichever is free: there may be another one running.
    settings.port = 0;
    discovery.apply(&mut settings);
    // Gone in a moment, so nobody should count on it.
    settings.dht_read_only = true;
    let session = Session::start(settings)?;
    let ended = tokio::select! {
        ended = ask(&session, link, discovery, quiet) => ended,
        () = signals.stop() => Err(Status::Interrupted.because("stopped before the metadata was here")),
    };
    signals.end_at_once(match &ended {
        Ok(_) => Status::Done,
        Err(error) => exit::status_of(error),
    });
    tokio::select! {
        () = session.close() => {}
        // Whatever still goes on ends with the process: nobody waits for its threads.
        () = signals.stop() => std::mem::forget(session.clone()),
    }
    ended
}

async fn ask(session: &Session, link: Found, discovery: &Discovery, quiet: bool) -> anyhow::Result<Metainfo> {
    let magnet = match link {
        Found::Torrent(metainfo) => return Ok(*metainfo),
        Found::Magnet(MagnetLink { magnet, remarks }) => {
            remarks.iter().for_each(|remark| report::warning(remark));
            magnet
        }
        Found::Publisher(link) => session.follow_publisher(link).next().await?,
    };
    let name = magnet.name.clone().unwrap_or_else(|| "magnet link".to_owned());
    let (peers, unknown) = discovery.peers().await;
    unknown.iter().for_each(|message| report::warning(message));
    if is_hopeless(&magnet, &peers, discovery.no_dht && discovery.no_lsd) {
        return Err(Status::Network.because(HOPELESS));
    }
    let mut request = MagnetRequest::new(magnet);
    request.peers = peers;
    let events = session.events();
    watch(session.fetch_metadata(request)?, events, &name, quiet).await
}

/// Shows how far it is until it is here.
async fn watch(
    mut fetching: Fetching,
    mut events: Events,
    name: &str,
    quiet: bool,
) -> anyhow::Result<Metainfo> {
    let (screen, is_terminal) = (Screen::default(), Screen::is_terminal());
    let mut frame = tokio::time::interval(FRAME);
    let mut told: Option<tokio::time::Instant> = None;
    let fetched = loop {
        tokio::select! {
            fetched = fetching.finished() => break fetched,
            Some(event) = events.next() => {
                if let Event::DhtAlone { .. } = event && !quiet {
                    screen.suspend(|| report::warning(&event.to_string()));
                }
                continue;
            }
            _ = frame.tick() => {}
        }
        let words = progress::words(&Figures::of_fetch(name, &fetching.progress()));
        let line = format!("{}: {words}", display::clean(name));
        if quiet {
            continue;
        }
        if is_terminal {
            screen.draw(vec![display::cut(&display::steady(&line), Screen::size().1.max(20) - 1)]);
        } else if told.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) && told.replace(clock::now()).is_some() {
            report::line(&line);
        }
    };
    screen.clear();
    Ok(fetched?.metainfo().clone())
}
