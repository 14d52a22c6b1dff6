//! `quelea get`: torrents' whole way, from their sources to a summary.

mod fetching;
mod publishers;

use crate::args::{GetArgs, Options};
use crate::clock;
use crate::display;
use crate::exit::{self, Status};
use crate::figures::Figures;
use crate::log;
use crate::report::{Report, Subject};
use crate::save::Saving;
use crate::select;
use crate::signals::Signals;
use crate::source::{self, Found, MagnetLink, Source, WebAccess};
use crate::state;
use fetching::Fetches;
use publishers::Publishers;
use quelea::{
    AddTorrent, Event, Events, Limits, PortMappingSettings, Priority, Session, Settings, Snapshot, State,
    Torrent, TorrentId, content_path,
};
use quelea_metainfo::{Info, Metainfo};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

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
    let mut report = Report::new(&args.options, sources.len() > 1);
    log::start(&args.options, report.screen())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(download(sources, &args.options, &mut report));
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
async fn download(sources: &[Source], options: &Options, report: &mut Report) -> anyhow::Result<Status> {
    let mut loading = Loading::new(sources, options.web.access(&options.discovery.bind)?);
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
    settings.state_dir = state_dir;
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
        announced: Vec::new(),
        entries: BTreeMap::new(),
        worst,
    };
    downloads.begin(first.0, first.1);
    let ended = downloads.run(&mut signals).await;
    if ended == Ended::Stopped {
        downloads.report.say("stopping; Ctrl-C again stops at once");
    }
    downloads.judge();
    tokio::select! {
        () = downloads.session.close() => {}
        () = signals.stop() => {}
    }
    downloads.report.clear();
    downloads.sum_up();
    if let Some(error) = downloads.report.unheard() {
        return Err(unwritten(error));
    }
    Ok(if downloads.is_complete() { downloads.worst } else { downloads.worst.worse(Status::Interrupted) })
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
    settings.limits = Limits { download: options.max_download, upload: options.max_upload };
    settings.memory = usize::try_from(for_payload(options.max_memory)).unwrap_or(usize::MAX);
    settings
}

/// What of the memory that the program may take is left for what arrives.
fn for_payload(max_memory: u64) -> u64 {
    // Pieces wait for nothing but memory, so some must be left for them however little there is.
    max_memory.saturating_sub(OWN_MEMORY).max(max_memory / 4)
}

/// A torrent that was read, and the name of its source.
struct Loaded {
    source: String,
    torrent: AddTorrent,
}

/// The sources while they are read and fetched, a few at a time.
struct Loading<'a> {
    sources: std::slice::Iter<'a, Source>,
    access: Arc<WebAccess>,
    /// In the order of the command line, which decides whether of two that clash one is refused.
    tasks: VecDeque<(String, JoinHandle<anyhow::Result<Found>>)>,
}

impl<'a> Loading<'a> {
    fn new(sources: &'a [Source], access: WebAccess) -> Self {
        Self { sources: sources.iter(), access: Arc::new(access), tasks: VecDeque::new() }
    }

    /// The next that is there, or why it is not; `None` when there are no more.
    async fn next(&mut self) -> Option<(String, anyhow::Result<Found>)> {
        while self.tasks.len() < AT_ONCE
            && let Some(source) = self.sources.next()
        {
            let (access, name) = (Arc::clone(&self.access), source.to_string());
            let source = source.clone();
            let task = tokio::spawn(async move { source::load(source, &access).await });
            self.tasks.push_back((name, task));
        }
        // Waiting for the task may be broken off, so it leaves the queue only when it is done.
        let loaded = (&mut self.tasks.front_mut()?.1).await.map_err(anyhow::Error::from).flatten();
        let (source, _) = self.tasks.pop_front()?;
        Some((source, loaded))
    }

    fn is_done(&self) -> bool {
        self.tasks.is_empty() && self.sources.len() == 0
    }
}

/// What the options want of a torrent.
fn wish(torrent: &mut AddTorrent, options: &Options) -> anyhow::Result<()> {
    torrent.wanted = wanted(&torrent.metainfo, &options.select)?;
    torrent.priorities = priorities(&torrent.metainfo, &options.priority)?;
    torrent.sequential = options.sequential;
    torrent.super_seeding = options.super_seed;
    torrent.preallocate = options.preallocate;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Every torrent is over.
    ByItself,
    /// A signal came, or who reads the JSON has gone.
    Stopped,
}

/// A torrent that the session was asked to open and has not given back yet.
struct Announced {
    source: String,
    subject: Subject,
}

/// A torrent of the session, from the moment its data are checked.
struct Entry {
    subject: Subject,
    /// Its handle, once what was there has been checked.
    torrent: Option<Torrent>,
    /// The last figures that were told, which is all there is while it is being checked.
    latest: Arc<Snapshot>,
    /// When the download itself began.
    started: Option<Instant>,
    /// When it was complete, and told.
    complete: Option<Instant>,
    /// Whether nothing more is to be done for it: it is complete, and was seeded for long enough.
    over: bool,
}

impl Entry {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.torrent.as_ref().map_or_else(|| Arc::clone(&self.latest), Torrent::snapshot)
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
    opening: JoinSet<(String, quelea::Result<Torrent>)>,
    /// What is being opened; no two of the same name, so that an event can be told by it.
    announced: Vec<Announced>,
    entries: BTreeMap<TorrentId, Entry>,
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
                Some(event) = self.events.next() => self.take(&event),
                _ = frame.tick() => self.look_at_all(),
            }
            if self.report.unheard().is_some() {
                return Ended::Stopped;
            }
            if self.is_over() {
                return Ended::ByItself;
            }
        }
    }

    /// A source was read.
    fn begin(&mut self, source: String, found: Found) {
        let metainfo = match found {
            Found::Torrent(metainfo) => metainfo,
            Found::Magnet(MagnetLink { magnet, remarks }) => {
                remarks.iter().for_each(|remark| self.report.warn(remark));
                return self.follow(source, magnet);
            }
            Found::Publisher(link) => {
                return self.publishers.follow(source, self.session.follow_publisher(link));
            }
        };
        let mut torrent = AddTorrent::new(*metainfo);
        torrent.peers.clone_from(&self.peers);
        match wish(&mut torrent, self.options) {
            Ok(()) => self.waiting.push_back(Loaded { source, torrent }),
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

    /// Whether everything that could be downloaded is there.
    fn is_complete(&self) -> bool {
        self.is_read() && self.entries.values().all(|entry| entry.over || entry.complete.is_some())
    }

    /// Hands what waits to the session, unless one of the same name is being opened.
    fn open_more(&mut self) {
        while self.opening.len() < AT_ONCE {
            let free = |loaded: &Loaded| {
                let name = &loaded.torrent.metainfo.info.name;
                self.announced.iter().all(|announced| announced.subject.name != *name)
            };
            let Some(at) = self.waiting.iter().position(free) else { return };
            let Some(Loaded { source, torrent }) = self.waiting.remove(at) else { return };
            if let Some(saving) = &self.saving
                && let Err(error) = saving.save(&torrent.metainfo)
            {
                self.worst = self.worst.worse(exit::status_of(&error));
                self.report.warn(&error.to_string());
            }
            let info = &torrent.metainfo.info;
            match self.clash(info) {
                Some(Clash::Same) => self.report.say(&format!("{source}: the same torrent is given twice")),
                Some(Clash::Path(path)) => {
                    let error = Status::Usage.because(format!(
                        "{source}: {} is a file of another torrent too: download it into another directory",
                        display::clean(&path)
                    ));
                    self.fail(&source, None, &error);
                }
                None => {
                    let subject = Subject {
                        name: info.name.clone(),
                        info_hash: info.hashes.v1_hex().or_else(|| info.hashes.v2_hex()).unwrap_or_default(),
                        place: place(self.options, info),
                    };
                    let (session, name) = (self.session.clone(), info.name.clone());
                    self.announced.push(Announced { source, subject });
                    self.opening.spawn(async move { (name, session.add(torrent).await) });
                }
            }
        }
    }

    /// Whether a torrent of the session is the same, or has a file at the same path.
    fn clash(&self, info: &Info) -> Option<Clash> {
        let namesakes = self.entries.values().filter_map(|entry| entry.torrent.as_ref());
        for other in namesakes.filter(|other| other.name() == info.name).filter_map(|other| other.info().ok())
        {
            if other.hashes.wire() == info.hashes.wire() {
                return Some(Clash::Same);
            }
            let real = |info: &'_ Info| -> HashSet<String> {
                let files = info.files.iter().filter(|file| !file.pad);
                files.map(|file| file.path.as_str().to_owned()).collect()
            };
            if let Some(path) = real(&other).intersection(&real(info)).next() {
                return Some(Clash::Path(path.clone()));
            }
        }
        None
    }

    /// The session has checked what was there, or refuses the torrent.
    fn opened(&mut self, name: &str, opened: quelea::Result<Torrent>) {
        match opened {
            Ok(torrent) => {
                let id = torrent.id();
                self.meet(id, &torrent.snapshot());
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.torrent = Some(torrent);
                }
                self.announced.retain(|announced| announced.subject.name != name);
                self.look(id);
            }
            Err(error) => {
                self.entries.retain(|_, entry| entry.torrent.is_some() || entry.subject.name != name);
                if let Some(at) = self.announced.iter().position(|announced| announced.subject.name == name) {
                    let Announced { source, subject } = self.announced.swap_remove(at);
                    self.fail(&source, Some(&subject), &error.into());
                }
            }
        }
    }

    /// Makes the entry of a torrent that was not heard of yet.
    fn meet(&mut self, id: TorrentId, snapshot: &Arc<Snapshot>) {
        if self.entries.contains_key(&id) {
            return;
        }
        let Some(announced) = self.announced.iter().find(|each| each.subject.name == snapshot.name) else {
            return;
        };
        self.report.added(&announced.source, &announced.subject, snapshot);
        self.entries.insert(
            id,
            Entry {
                subject: announced.subject.clone(),
                torrent: None,
                latest: Arc::clone(snapshot),
                started: None,
                complete: None,
                over: false,
            },
        );
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
            self.report.event(&entry.subject, event);
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
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.over) else { return };
        let snapshot = entry.snapshot();
        match snapshot.state {
            State::Downloading => {
                entry.started.get_or_insert_with(clock::now);
            }
            State::Seeding => {
                let figures = Figures::from(&*snapshot);
                let complete = *entry.complete.get_or_insert_with(|| {
                    let took = entry.started.map_or(Duration::ZERO, |started| started.elapsed());
                    self.report.completed(&entry.subject, &snapshot, took);
                    clock::now()
                });
                entry.over = !self.options.seeds() || has_seeded(self.options, &figures, complete.elapsed());
                if entry.over && self.options.seeds() {
                    self.report.say(&format!("{}: {}", figures.name, uploaded(&figures)));
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
            self.report.say(&format!("{name}: stopped before its metadata was here"));
        }
        for entry in self.entries.values().filter(|entry| !entry.over) {
            let figures = Figures::from(&*entry.snapshot());
            let name = &figures.name;
            self.report.say(&if entry.complete.is_some() {
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

/// What a torrent may share with another one of the session.
enum Clash {
    Same,
    Path(String),
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

/// Where the torrent's file or folder is written, to be shown.
fn place(options: &Options, info: &Info) -> String {
    let place = content_path(info, &options.output_dir, options.names);
    let place = place.strip_prefix(".").unwrap_or(&place);
    display::clean(&place.to_string_lossy())
}

/// Which files are wanted, an entry for each, pad files included; `None` for all.
fn wanted(metainfo: &Metainfo, choices: &[String]) -> anyhow::Result<Option<Vec<bool>>> {
    if choices.is_empty() {
        return Ok(None);
    }
    let mut selected = select::select(choices, &metainfo.info.name, &paths(&metainfo.info))?.into_iter();
    let files = metainfo.info.files.iter();
    Ok(Some(files.map(|file| !file.pad && selected.next().unwrap_or(false)).collect()))
}

/// How much each file is wanted, an entry for each, pad files included; `None` for the usual.
fn priorities(metainfo: &Metainfo, choices: &[String]) -> anyhow::Result<Option<Vec<Priority>>> {
    if choices.is_empty() {
        return Ok(None);
    }
    let mut chosen = select::prioritise(choices, &metainfo.info.name, &paths(&metainfo.info))?.into_iter();
    let mut of = |pad: bool| if pad { None } else { chosen.next() };
    Ok(Some(metainfo.info.files.iter().map(|file| of(file.pad).unwrap_or_default()).collect()))
}

/// The paths of the files, pad files left out, from the torrent's folder.
fn paths(info: &Info) -> Vec<&str> {
    let folder = format!("{}/", info.name);
    let real = info.files.iter().filter(|file| !file.pad).map(|file| file.path.as_str());
    real.map(|path| path.strip_prefix(&folder).unwrap_or(path)).collect()
}
