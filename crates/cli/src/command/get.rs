//! `quelea get`: a torrent's whole way, from its source to a summary.

use crate::args::GetArgs;
use crate::exit::Status;
use crate::progress::{self, Figures};
use crate::report::Report;
use crate::signals::Signals;
use crate::source::{self, Source};
use crate::{display, log, select};
use quelea::{AddTorrent, Event, Events, Session, Settings, Snapshot, State, Torrent};
use quelea_metainfo::Metainfo;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the figures are shown.
const FRAME: Duration = Duration::from_millis(250);

pub(crate) fn run(args: &GetArgs) -> anyhow::Result<Status> {
    let mut report = Report::new(args);
    log::start(args.verbose, args.quiet, report.bar())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bytes = match args.source()? {
        Source::File(path) => source::read_file(path)?,
        Source::Url(url) => runtime.block_on(source::fetch(url, &args.bind))?,
        Source::Magnet(_) => {
            return Err(Status::Refused.because(
                "magnet links cannot be downloaded yet: that comes in a later version. \
                 `quelea show` shows what a link says; to download, use the torrent file",
            ));
        }
    };
    let metainfo = source::parse(args.source()?, &bytes)?;
    drop(bytes);
    let ended = runtime.block_on(download(args, metainfo, &mut report));
    report.clear();
    ended
}

async fn download(args: &GetArgs, metainfo: Metainfo, report: &mut Report) -> anyhow::Result<Status> {
    let mut signals = Signals::listen()?;
    let place = place(&args.output_dir, &metainfo);
    let mut torrent = AddTorrent::new(metainfo);
    torrent.wanted = wanted(&torrent.metainfo, &args.select)?;
    torrent.preallocate = args.preallocate;
    torrent.peers.clone_from(&args.peer);

    let mut settings = Settings::new(&args.output_dir);
    settings.port = args.port;
    settings.bind.clone_from(&args.bind);
    settings.max_peers = usize::from(args.max_peers);
    let session = Session::start(settings)?;
    tracing::info!(port = session.port(), "listening");

    let mut download =
        Download { session, report, place, torrent: None, latest: None, started: None, complete: false };
    let ended = download.run(torrent, args.seed, &mut signals).await;
    // A download that is complete says so in its summary.
    if ended.is_ok() && (args.seed || !download.complete) {
        download.report.say("stopping; Ctrl-C again stops at once");
    }
    tokio::select! {
        () = download.session.close() => {}
        () = signals.stop() => {}
    }
    download.report.clear();
    ended?;
    if !download.complete || args.seed {
        download.tell_where_it_stopped();
    }
    Ok(if download.complete { Status::Done } else { Status::Interrupted })
}

/// A torrent while it is downloaded and seeded.
struct Download<'a> {
    session: Session,
    report: &'a mut Report,
    /// Where the torrent is written, to be shown.
    place: String,
    /// The torrent, once what was there has been checked.
    torrent: Option<Torrent>,
    /// The last figures that were told, which is all there is while it is being checked.
    latest: Option<Arc<Snapshot>>,
    /// When the download itself began.
    started: Option<Instant>,
    /// Whether the end was reached, and told.
    complete: bool,
}

impl Download<'_> {
    /// Runs until the torrent is complete, or for ever to seed, or a signal comes.
    async fn run(&mut self, torrent: AddTorrent, seed: bool, signals: &mut Signals) -> anyhow::Result<()> {
        let session = self.session.clone();
        let mut events = session.events();
        let mut adding = pin!(session.add(torrent));
        let mut frame = tokio::time::interval(FRAME);
        frame.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = signals.stop() => return Ok(()),
                torrent = &mut adding, if self.torrent.is_none() => self.torrent = Some(torrent?),
                event = next(&mut events) => self.take(&event?)?,
                _ = frame.tick() => {}
            }
            if let Some(snapshot) = self.snapshot()
                && self.is_over(&snapshot)?
                && !seed
            {
                return Ok(());
            }
        }
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.torrent.as_ref().map(Torrent::snapshot).or_else(|| self.latest.clone())
    }

    /// What an event changes or says.
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        self.report.event(event);
        if let Event::Failed { message, .. } = event {
            return Err(disk_failure(message));
        }
        if let Event::Progress(_, snapshot) = event {
            self.latest = Some(Arc::clone(snapshot));
        }
        Ok(())
    }

    fn tell_where_it_stopped(&self) {
        let Some(snapshot) = self.snapshot() else { return };
        let figures = Figures::from(&*snapshot);
        let name = &figures.name;
        self.report.say(&if self.complete {
            format!("{name}: {} uploaded, ratio {}", display::bytes(figures.uploaded), figures.ratio())
        } else {
            let percent = display::percent(figures.have, figures.wanted);
            format!("{name}: stopped at {percent}; the same command goes on from there")
        });
    }

    /// Shows how things stand; whether all that was wanted is there.
    fn is_over(&mut self, snapshot: &Snapshot) -> anyhow::Result<bool> {
        let figures = Figures::from(snapshot);
        if snapshot.state == State::Failed {
            return Err(disk_failure(snapshot.error.as_deref().unwrap_or("no reason is known")));
        }
        if snapshot.state == State::Downloading {
            self.started.get_or_insert_with(Instant::now);
        }
        if snapshot.state == State::Seeding && !self.complete {
            self.complete = true;
            let took = self.started.map_or(Duration::ZERO, |started| started.elapsed());
            self.report.say(&format!("{}: {}", self.place, progress::summary(&figures, took)));
        }
        self.report.show(&figures);
        Ok(self.complete)
    }
}

/// The next event. The session lives as long as the download, so there always is one.
async fn next(events: &mut Events) -> anyhow::Result<Event> {
    events.next().await.ok_or_else(|| quelea::Error::Closed.into())
}

fn disk_failure(message: &str) -> anyhow::Error {
    Status::Disk.because(format!("stopped: {}", display::clean(message)))
}

/// Where the torrent's file or folder is written, to be shown.
fn place(output_dir: &Path, metainfo: &Metainfo) -> String {
    let place = output_dir.join(&metainfo.info.name);
    let place = place.strip_prefix(".").unwrap_or(&place);
    display::clean(&place.to_string_lossy())
}

/// Which files are wanted, an entry for each, pad files included; `None` for all.
fn wanted(metainfo: &Metainfo, choices: &[String]) -> anyhow::Result<Option<Vec<bool>>> {
    if choices.is_empty() {
        return Ok(None);
    }
    let info = &metainfo.info;
    let folder = format!("{}/", info.name);
    let real = || info.files.iter().filter(|file| !file.pad).map(|file| file.path.as_str());
    let paths: Vec<&str> = real().map(|path| path.strip_prefix(&folder).unwrap_or(path)).collect();
    let mut selected = select::select(choices, &paths)?.into_iter();
    Ok(Some(info.files.iter().map(|file| !file.pad && selected.next().unwrap_or(false)).collect()))
}
