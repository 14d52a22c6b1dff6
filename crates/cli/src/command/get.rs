//! `quelea get`: torrents' whole way, from their sources to a summary.

mod again;
mod fetching;
mod hooks;
mod loading;
mod opening;
mod patience;
mod publishers;
mod wish;

use crate::args::{GetArgs, Options};
use crate::clock;
use crate::display;
use crate::exit::{self, Status};
use crate::figures::Figures;
use crate::log;
use crate::report::{Report, Subject};
use crate::save::Saving;
use crate::signals::Signals;
use crate::source::{Found, MagnetLink};
use crate::state;
use again::Again;
use fetching::Fetches;
use hooks::Hooks;
pub(super) use loading::Given;
use loading::{Loading, Read, keep, keep_link};
use opening::{Announced, Loaded, Opened};
use patience::Patience;
use publishers::Publishers;
use quelea::{
    AddTorrent, Event, Events, Limits, PortMappingSettings, Session, Settings, Snapshot, State, Torrent,
    TorrentId,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use wish::{Choices, wish};

/// How often the figures are shown.
const FRAME: Duration = Duration::from_millis(250);
/// Torrents that are fetched at a time, and that are opened and checked at a time.
const AT_ONCE: usize = 4;
/// What the program takes beside what arrives, in bytes: its code, its threads, its peers. Measured by
/// `bench/memory.py`, with some to spare.
const OWN_MEMORY: u64 = 16 << 20;

pub(crate) fn run(args: &GetArgs) -> anyhow::Result<Status> {
    let sources = args.sources()?;
    let saving = args.options.save_torrent.as_deref().map(Saving::new);
    if args.options.json && saving.is_some_and(|saving| saving.is_stdout()) {
        return Err(Status::Usage.because("--json and --save-torrent - cannot both have standard output"));
    }
    let given: Vec<Given> = sources.iter().cloned().map(Given::Source).collect();
    start(&given, &args.options)
}

/// Downloads these torrents, in the order in which they are given.
pub(super) fn start(given: &[Given], options: &Options) -> anyhow::Result<Status> {
    let mut report = Report::new(options, given.len() > 1);
    log::start(options, report.screen())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(download(given, options, &mut report));
    // A server that does not answer must not hold up the end.
    runtime.shutdown_background();
    report.clear();
    match &ended {
        Ok(status) => report.ended(*status),
        Err(error) => report.ended(exit::status_of(error)),
    }
    ended
}

/// Downloads all; the status is that of the worst.
async fn download(given: &[Given], options: &Options, report: &mut Report) -> anyhow::Result<Status> {
    let mut loading = Loading::new(given, options.web.access(&options.discovery.bind)?);
    let mut worst = Status::Done;
    // Nothing is listened on before there is something to download.
    let first = loop {
        match loading.next().await {
            Some((source, Ok(read))) => break (source, read),
            Some((source, Err(error))) => {
                worst = worst.worse(exit::status_of(&error));
                report.failed(&source, None, &error);
            }
            None => return Ok(worst),
        }
    };
    if matches!(first.1, Read::Source(_))
        && let Err(error) = make_directory(&options.output_dir)
    {
        report.failed(&first.0, None, &error);
        return Ok(worst.worse(exit::status_of(&error)));
    }
    let mut signals = Signals::listen()?;
    let peers = tokio::select! {
        (peers, unknown) = options.discovery.peers() => {
            unknown.iter().for_each(|message| report.warn(message));
            peers
        }
        () = signals.stop() => return Ok(Status::Interrupted),
    };
    let mut settings = settings(options);
    let (state_dir, trouble) = state::prepared(options.state_dir.as_deref());
    settings.state_dir.clone_from(&state_dir);
    trouble.iter().for_each(|message| report.warn(message));
    let session = Session::start(settings)?;
    tracing::info!(port = session.port(), "listening");
    let mut downloads = Downloads {
        events: session.events(),
        session,
        options,
        peers,
        report,
        loading,
        waiting: VecDeque::new(),
        publishers: Publishers::default(),
        fetches: Fetches::default(),
        saving: options.save_torrent.as_deref().map(Saving::new),
        opening: JoinSet::new(),
        keeping: JoinSet::new(),
        announced: Vec::new(),
        entries: BTreeMap::new(),
        state_dir,
        patience: Patience::new(),
        hooks: Hooks::new(),
        rechecks: JoinSet::new(),
        worst,
    };
    downloads.begin(first.0, first.1);
    let ended = downloads.run(&mut signals).await;
    if let Ended::GaveUp(why) = &ended {
        downloads.report.warn(why);
        downloads.worst = downloads.worst.worse(Status::GaveUp);
    }
    if ended == Ended::Stopped {
        downloads.report.say("stopping; Ctrl-C again stops at once");
    }
    downloads.judge();
    let gave_up = matches!(ended, Ended::GaveUp(_));
    signals.end_at_once(downloads.status(gave_up));
    let close = async {
        downloads.session.close().await;
        while downloads.keeping.join_next().await.is_some() {}
    };
    tokio::select! {
        () = close => {}
        // Whatever still goes on ends with the process: nobody waits for its threads.
        () = signals.stop() => std::mem::forget(downloads.session.clone()),
    }
    // Work that was being finished when the signal came is done by now.
    let status = downloads.status(gave_up);
    downloads.report.clear();
    downloads.sum_up();
    if let Some(error) = downloads.report.unheard() {
        return Err(unwritten(error));
    }
    Ok(status)
}

/// Makes the directory for the downloads, so that one that can't be made is told before anything is asked of anybody.
fn make_directory(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).map_err(|error| {
        Status::Disk.because(format!(
            "cannot create the directory {}: {}; choose another one with --output-dir",
            display::clean(&path.to_string_lossy()),
            display::plain(&error.to_string())
        ))
    })
}

/// Why the program stopped: nobody can be told of the download any more.
fn unwritten(error: &std::io::Error) -> anyhow::Error {
    let status = if error.kind() == ErrorKind::BrokenPipe { Status::Interrupted } else { Status::Disk };
    let error = display::plain(&error.to_string());
    status.because(format!("stopped, since standard output cannot be written to: {error}"))
}

pub(super) fn settings(options: &Options) -> Settings {
    let mut settings = Settings::new(&options.output_dir);
    settings.port = options.port;
    settings.names = options.names;
    options.discovery.apply(&mut settings);
    settings.port_mapping = (!options.no_port_map).then(PortMappingSettings::default);
    settings.max_peers = usize::from(options.max_peers);
    settings.queue.downloads = Some(usize::from(options.turns.max_active)).filter(|most| *most > 0);
    settings.alternative_limits = options.turns.schedule.as_ref().map(Into::into);
    settings.limits = Limits { download: options.max_download, upload: options.max_upload };
    settings.memory = usize::try_from(for_payload(options.max_memory)).unwrap_or(usize::MAX);
    settings
}

/// What of the memory that the program may take is left for what arrives.
fn for_payload(max_memory: u64) -> u64 {
    // Pieces wait for nothing but memory, so some must be left for them however little there is.
    max_memory.saturating_sub(OWN_MEMORY).max(max_memory / 4)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// Every torrent is over.
    ByItself,
    /// A signal came, or who reads the JSON has gone.
    Stopped,
    /// A time that was set has passed: which.
    GaveUp(String),
}

/// A torrent of the session, from the moment its data are checked.
struct Entry {
    subject: Subject,
    /// The directory that it is written to.
    dir: PathBuf,
    /// Its file or folder there.
    path: PathBuf,
    /// Its handle, once what was there has been checked.
    torrent: Option<Torrent>,
    /// The last figures that were told, which is all there is while it is being checked.
    latest: Arc<Snapshot>,
    /// When the download itself began.
    started: Option<Instant>,
    /// When it was complete, and told.
    complete: Option<Instant>,
    /// Whether its files were hashed once more, where that is asked for.
    again: Again,
    /// Whether nothing more is to be done for it: it is complete, and was seeded for long enough.
    over: bool,
}

impl Entry {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.torrent.as_ref().map_or_else(|| Arc::clone(&self.latest), Torrent::snapshot)
    }

    /// Whether all that is wanted is there. The event that says so may still wait to be read when the program is told to end.
    fn is_whole(&self) -> bool {
        let snapshot = self.snapshot();
        let has_all = snapshot.wanted_length > 0 && snapshot.wanted_have == snapshot.wanted_length;
        self.complete.is_some() || (has_all && snapshot.state != State::Failed)
    }
}

/// All torrents while they are downloaded and seeded.
struct Downloads<'a> {
    session: Session,
    events: Events,
    options: &'a Options,
    /// The peers that the options name, looked up.
    peers: Vec<SocketAddr>,
    report: &'a mut Report,
    loading: Loading<'a>,
    /// What was read and waits for its turn.
    waiting: VecDeque<Loaded>,
    publishers: Publishers,
    /// The metadata of links, on its way.
    fetches: Fetches,
    /// Where torrent files are saved, if they are.
    saving: Option<Saving>,
    opening: JoinSet<(String, quelea::Result<Opened>)>,
    /// Torrents that are being noted as begun.
    keeping: JoinSet<()>,
    /// What is being opened; no two of the same name, so that an event can be told by it.
    announced: Vec<Announced>,
    entries: BTreeMap<TorrentId, Entry>,
    /// Where it is noted what was begun, if it is.
    state_dir: Option<PathBuf>,
    patience: Patience,
    hooks: Hooks,
    /// Torrents whose files are hashed once more.
    rechecks: JoinSet<(TorrentId, quelea::Result<()>)>,
    worst: Status,
}

impl Downloads<'_> {
    /// Runs until every torrent is over, or for ever to seed, or a signal comes.
    async fn run(&mut self, signals: &mut Signals) -> Ended {
        let mut frame = tokio::time::interval(FRAME);
        frame.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.open_more();
            tokio::select! {
                () = signals.stop() => return Ended::Stopped,
                Some((source, loaded)) = self.loading.next() => match loaded {
                    Ok(read) => self.begin(source, read),
                    Err(error) => self.fail(&source, None, &error),
                },
                published = self.publishers.next() => self.published(published),
                (fetch, fetched) = self.fetches.next() => self.fetched(fetch, fetched),
                Some(Ok((name, opened))) = self.opening.join_next() => self.opened(&name, opened),
                Some(Ok((id, result))) = self.rechecks.join_next() => self.hashed_again(id, result),
                (subject, ended) = self.hooks.next() => self.hook_ended(&subject, ended),
                Some(event) = self.events.next() => self.take(&event),
                _ = frame.tick() => {
                    self.look_at_all();
                    if let Some(why) = self.gives_up() {
                        return Ended::GaveUp(why);
                    }
                }
            }
            if self.report.unheard().is_some() {
                return Ended::Stopped;
            }
            if self.is_over() && self.hooks.are_done() {
                return Ended::ByItself;
            }
            if self.is_over() && self.hooks.are_given_up(clock::now()) {
                self.report.warn("a command of --on-complete still runs and is left to itself");
                return Ended::ByItself;
            }
        }
    }

    /// A source was read.
    fn begin(&mut self, source: String, read: Read) {
        let (mut torrent, choices) = match read {
            Read::Known(torrent) => (*torrent, None),
            Read::Link(link) => {
                let (magnet, wishes) = *link;
                return self.follow(source, magnet, Some(wishes));
            }
            Read::Source(found) => match *found {
                Found::Torrent(metainfo) => (AddTorrent::new(*metainfo), Some(Choices::of(self.options))),
                Found::Magnet(MagnetLink { magnet, remarks }) => {
                    remarks.iter().for_each(|remark| self.report.warn(remark));
                    return self.follow(source, magnet, None);
                }
                Found::Publisher(link) => {
                    return self.publishers.follow(source, self.session.follow_publisher(link));
                }
            },
        };
        torrent.peers.clone_from(&self.peers);
        match wish(&mut torrent, self.options, choices) {
            Ok(()) => self.waiting.push_back(Loaded { source, torrent, link: None }),
            Err(error) => self.fail(&source, None, &error),
        }
    }

    fn is_over(&self) -> bool {
        self.is_read() && self.entries.values().all(|entry| entry.over)
    }

    /// Whether every source has led to a torrent of the session, or to an error.
    fn is_read(&self) -> bool {
        self.loading.is_done()
            && self.publishers.are_found()
            && self.fetches.is_empty()
            && self.waiting.is_empty()
            && self.opening.is_empty()
    }

    /// Whether something waits for a peer, and none is connected: then it matters that nobody in the DHT answers.
    fn is_without_peers(&self) -> bool {
        let incomplete = self.entries.values().filter(|entry| entry.complete.is_none());
        incomplete.map(|entry| entry.snapshot()).any(|snapshot| snapshot.peers_connected == 0)
            || self.fetches.shown().iter().any(|(_, progress)| progress.peers_connected == 0)
    }

    /// How the program ends: an interruption counts unless everything is there, or nobody waits for it any longer.
    fn status(&self, gave_up: bool) -> Status {
        let whole = self.is_read() && self.entries.values().all(|entry| entry.over || entry.is_whole());
        if gave_up || whole { self.worst } else { self.worst.worse(Status::Interrupted) }
    }

    /// Whether everything that could be downloaded is there.
    fn is_complete(&self) -> bool {
        self.is_read() && self.entries.values().all(|entry| entry.over || entry.complete.is_some())
    }

    /// What an event changes or says.
    fn take(&mut self, event: &Event) {
        let id = match event {
            Event::Progress(id, snapshot) => {
                self.meet(*id, snapshot);
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.latest = Arc::clone(snapshot);
                }
                *id
            }
            Event::Completed(id)
            | Event::Checked { id, .. }
            | Event::Failed { id, .. }
            | Event::Resumed(id)
            | Event::TrackerAnswered { id, .. }
            | Event::TrackerFailed { id, .. }
            | Event::DhtAnswered { id, .. }
            | Event::PieceFailed { id, .. }
            | Event::PeerBanned { id, .. } => *id,
            Event::Warning(message) => return self.report.warn(message),
            Event::DhtJoined { .. } => return self.report.dht(event, false),
            Event::DhtAlone { .. } => {
                let waiting = self.is_without_peers();
                return self.report.dht(event, waiting);
            }
            Event::PortMapped(_)
            | Event::PortMappingLost(_)
            | Event::PortNotMapped(_)
            | Event::ExternalAddress(_) => return self.report.reached(event),
            Event::Missed(_) | _ => return,
        };
        if let Some(entry) = self.entries.get(&id) {
            if entry.again == Again::Running && matches!(event, Event::Checked { .. }) {
                self.report.event_for_programs(&entry.subject, event);
            } else {
                self.report.event(&entry.subject, event);
            }
        } else if let Some(subject) = self.fetches.subject(id) {
            self.report.event(subject, event);
        }
        self.look(id);
    }

    fn fail(&mut self, source: &str, subject: Option<&Subject>, error: &anyhow::Error) {
        self.worst = self.worst.worse(exit::status_of(error));
        self.report.failed(source, subject, error);
    }

    fn look_at_all(&mut self) {
        let ids: Vec<TorrentId> = self.entries.keys().copied().collect();
        ids.into_iter().for_each(|id| self.look(id));
        let shown: Vec<(&Subject, Arc<Snapshot>, bool)> =
            self.entries.values().map(|entry| (&entry.subject, entry.snapshot(), entry.over)).collect();
        self.report.show(&shown, &self.fetches.shown());
    }

    /// Notices when a torrent is complete, and when it was seeded for long enough.
    fn look(&mut self, id: TorrentId) {
        let is_whole = self.entries.get(&id).is_some_and(|entry| entry.snapshot().state == State::Seeding);
        if is_whole && !self.is_hashed_again(id) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.over) else { return };
        let snapshot = entry.snapshot();
        match snapshot.state {
            State::Downloading => {
                entry.started.get_or_insert_with(clock::now);
            }
            State::Seeding => {
                let figures = Figures::from(&*snapshot);
                let is_new = entry.complete.is_none();
                let complete = *entry.complete.get_or_insert_with(|| {
                    let took = entry.started.map_or(Duration::ZERO, |started| started.elapsed());
                    self.report.completed(&entry.subject, &snapshot, took);
                    clock::now()
                });
                entry.over = !self.options.seeds() || has_seeded(self.options, &figures, complete.elapsed());
                if entry.over && self.options.seeds() {
                    self.report.say(&format!("{}: {}", figures.name, uploaded(&figures)));
                }
                if is_new {
                    self.run_hook(id);
                }
            }
            // What its disk stopped waits for that to be mended.
            State::Checking | State::Failed | _ => {}
        }
    }

    /// Notes what stands in the way of a torrent, before the end of the session takes it away.
    fn judge(&mut self) {
        let mut unfinished = self.entries.values().filter(|entry| !entry.over);
        if unfinished.any(|entry| entry.snapshot().state == State::Failed) {
            self.worst = self.worst.worse(Status::Disk);
        }
    }

    /// Says at the end where those stand that could have gone on, and what came of all.
    fn sum_up(&mut self) {
        for (subject, _) in self.fetches.shown() {
            let name = display::clean(&subject.name);
            self.report
                .say(&format!("{name}: stopped before its metadata was here; the same command goes on"));
        }
        for entry in self.entries.values().filter(|entry| !entry.over) {
            let figures = Figures::from(&*entry.snapshot());
            let name = &figures.name;
            self.report.say(&if entry.is_whole() {
                format!("{name}: {}", uploaded(&figures))
            } else {
                let percent = display::percent(figures.have, figures.wanted);
                format!("{name}: stopped at {percent}; the same command goes on from there")
            });
        }
        let last: Vec<(&Subject, Arc<Snapshot>, bool)> =
            self.entries.values().map(|entry| (&entry.subject, entry.snapshot(), entry.over)).collect();
        let complete = self.entries.values().filter(|entry| entry.complete.is_some()).count();
        self.report.sum(&last, complete);
    }
}

/// Whether a complete torrent that was seeded for `time` has reached what the user set as its goal.
fn has_seeded(options: &Options, figures: &Figures, time: Duration) -> bool {
    let ratio =
        options.seed_ratio.is_some_and(|ratio| figures.uploaded as f64 >= ratio * figures.have as f64);
    ratio || options.seed_time.is_some_and(|goal| time >= goal)
}

fn uploaded(figures: &Figures) -> String {
    format!("{} uploaded, ratio {}", display::bytes(figures.uploaded), figures.ratio())
}
