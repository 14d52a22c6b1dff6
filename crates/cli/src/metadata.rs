//! The torrent of a magnet link for commands that do not download it: peers are asked, and that is all.

use crate::args::Discovery;
use crate::clock;
use crate::display;
use crate::exit::Status;
use crate::figures::Figures;
use crate::progress;
use crate::signals::Signals;
use crate::source::{self, Found};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quelea::{Fetching, MagnetRequest, Session, Settings};
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
pub(crate) fn fetch(link: &str, discovery: &Discovery, quiet: bool) -> anyhow::Result<Metainfo> {
    let link = source::read_link(link)?;
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
    tokio::select! {
        () = session.close() => {}
        () = signals.stop() => {}
    }
    ended
}

async fn ask(session: &Session, link: Found, discovery: &Discovery, quiet: bool) -> anyhow::Result<Metainfo> {
    let magnet = match link {
        Found::Torrent(metainfo) => return Ok(*metainfo),
        Found::Magnet(magnet) => magnet,
        Found::Publisher(link) => session.follow_publisher(link).next().await?,
    };
    let name = magnet.name.clone().unwrap_or_else(|| "magnet link".to_owned());
    if is_hopeless(&magnet, &discovery.peer, discovery.no_dht && discovery.no_lsd) {
        return Err(Status::Network.because(HOPELESS));
    }
    let mut request = MagnetRequest::new(magnet);
    request.peers.clone_from(&discovery.peer);
    watch(session.fetch_metadata(request)?, &name, quiet).await
}

/// Shows how far it is until it is here.
async fn watch(mut fetching: Fetching, name: &str, quiet: bool) -> anyhow::Result<Metainfo> {
    let terminal = Term::stderr();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    if terminal.is_term() && !quiet {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    let mut frame = tokio::time::interval(FRAME);
    let mut told: Option<tokio::time::Instant> = None;
    let fetched = loop {
        tokio::select! {
            fetched = fetching.finished() => break fetched,
            _ = frame.tick() => {}
        }
        let words = progress::words(&Figures::of_fetch(name, &fetching.progress()));
        let line = display::cut(
            &format!("{}: {words}", display::clean(name)),
            usize::from(terminal.size().1).max(20) - 1,
        );
        if terminal.is_term() {
            bar.set_message(line);
        } else if !quiet
            && told.is_none_or(|at| at.elapsed() >= LOG_INTERVAL)
            && told.replace(clock::now()).is_some()
        {
            // Nothing can be done about a standard error that is closed.
            let _ = terminal.write_line(&line);
        }
    };
    bar.finish_and_clear();
    Ok(fetched?.metainfo().clone())
}
