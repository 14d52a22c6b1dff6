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

    let mut download = Download { session: session.clone(), report, place, started: None, complete: false };
    let ended = download.run(torrent, args.seed, &mut signals).await;
    let Download { complete, .. } = download;
    // A download that is complete says so in its summary.
    if ended.is_ok() && (args.seed || !complete) {
        report.say("stopping; Ctrl-C again stops at once");
    }
    tokio::select! {
        () = session.close() => {}
        () = signals.stop() => {}
    }
    report.clear();
    let Some(figures) = ended? else { return Ok(Status::Interrupted) };
    if !complete {
        let percent = display::percent(figures.have, figures.wanted);
        report.say(&format!("{}: stopped at {percent}; the same command goes on from there", figures.name));
        return Ok(Status::Interrupted);
    }
    if args.seed {
        let sent = display::bytes(figures.uploaded);
        report.say(&format!("{}: {sent} uploaded, ratio {}", figures.name, figures.ratio()));
    }
    Ok(Status::Done)
}

/// A torrent while it is downloaded and seeded.
struct Download<'a> {
    session: Session,
    report: &'a mut Report,
    /// Where the torrent is written, to be shown.
    place: String,
    /// When the download itself began, after what was there had been checked.
    started: Option<Instant>,
    /// Whether the end was reached, and told.
    complete: bool,
}

impl Download<'_> {
    /// Runs until the torrent is complete, or for ever to seed, or a signal comes. Gives the last figures.
    async fn run(
        &mut self,
        torrent: AddTorrent,
        seed: bool,
        signals: &mut Signals,
    ) -> anyhow::Result<Option<Figures>> {
        let session = self.session.clone();
        let mut events = session.events();
        let mut adding = pin!(session.add(torrent));
        let mut added: Option<Torrent> = None;
        let mut latest: Option<Arc<Snapshot>> = None;
        let mut frame = tokio::time::interval(FRAME);
        frame.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = signals.stop() => break,
                torrent = &mut adding, if added.is_none() => added = Some(torrent?),
                event = next(&mut events) => self.take(&event?, &mut latest)?,
                _ = frame.tick() => {}
            }
            if let Some(torrent) = &added {
                latest = Some(torrent.snapshot());
            }
            let Some(snapshot) = &latest else { continue };
            if self.is_over(snapshot)? && !seed {
                break;
            }
        }
        Ok(latest.as_deref().map(Figures::from))
    }

    /// What an event changes or says.
    fn take(&mut self, event: &Event, latest: &mut Option<Arc<Snapshot>>) -> anyhow::Result<()> {
        self.report.event(event);
        if let Event::Failed { message, .. } = event {
            return Err(disk_failure(message));
        }
        // Before the torrent has been added this is all that is known of it: it is being checked.
        if let Event::Progress(_, snapshot) = event {
            *latest = Some(Arc::clone(snapshot));
        }
        Ok(())
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
