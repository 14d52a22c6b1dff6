//! What downloads tell their user, on standard error: progress lines on a terminal, sparse lines in a log,
//! nothing but errors when quiet. For programs, `json` tells it on standard output.

use crate::args::Options;
use crate::clock;
use crate::command::show;
use crate::display;
use crate::exit::{Failure, Status};
use crate::figures::{Figures, Phase};
use crate::json::JsonLines;
use crate::log;
use crate::progress::{self, Paint};
use crate::screen::Screen;
use quelea::{Event, FetchProgress, Snapshot, Waiting};
use quelea_metainfo::Metainfo;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two lines in a log while nothing but figures change, and while seeding.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
const SEEDING_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest time between two lines in a log when the torrent began to do or to wait for something else.
const LOG_STAGE_INTERVAL: Duration = Duration::from_secs(1);
/// Files that are listed when a magnet link's metadata is here.
const LISTED: usize = 30;
/// Trackers whose last failure is remembered, so that it is told once.
const REMEMBERED: usize = 256;

/// Prints why the program ends, or one of several torrents (`name`, cleaned). Text that comes from outside is made
/// harmless; our own may have several lines.
pub(crate) fn error(name: Option<&str>, error: &anyhow::Error) {
    let text = error.to_string();
    let text = if error.is::<Failure>() { text } else { display::clean(&text) };
    let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
    write_line(&format!("quelea: {name}{}", display::plain(&text)));
}

/// Prints something that stops nothing but that the user should know, on one line.
pub(crate) fn warning(message: &str) {
    write_line(&warning_line(message));
}

fn warning_line(message: &str) -> String {
    format!("warning: {}", display::plain(&display::clean(message)))
}

/// Prints a line.
pub(crate) fn line(line: &str) {
    write_line(line);
}

/// Nothing can be done about a standard error that is closed.
fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// What a torrent is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// As in the torrent.
    pub(crate) name: String,
    /// In hexadecimal.
    pub(crate) info_hash: String,
    /// Where it is written. Cleaned: safe to print.
    pub(crate) place: String,
}

/// A torrent's figures, and whether nothing more is to be done for it.
pub(crate) type Shown<'a> = (&'a Subject, Arc<Snapshot>, bool);

/// A torrent whose metadata is awaited.
pub(crate) type Awaited<'a> = (&'a Subject, FetchProgress);

/// Where the user looks, and what was told already.
pub(crate) struct Report {
    mode: Mode,
    /// Whether there are several torrents, so that each line must say which it is about.
    several: bool,
    /// Whether small misfortunes are told: a piece that failed, a peer that was banned.
    verbose: bool,
    begun: Instant,
    screen: Screen,
    failures: HashMap<String, String>,
}

enum Mode {
    Quiet,
    Terminal,
    /// What stands in the log, by the torrent's hash; of the sum of several, by nothing.
    Log(HashMap<String, Told>),
    Json(JsonLines),
}

/// The line about progress that stands in a log.
struct Told {
    at: Instant,
    words: String,
    stage: (Discriminant<Phase>, Option<Waiting>),
}

impl Report {
    pub(crate) fn new(options: &Options, several: bool) -> Self {
        let mode = if options.json {
            Mode::Json(JsonLines::default())
        } else if options.quiet {
            Mode::Quiet
        } else if Screen::is_terminal() {
            Mode::Terminal
        } else {
            Mode::Log(HashMap::new())
        };
        let (begun, screen) = (clock::now(), Screen::default());
        Self { mode, several, verbose: options.verbose > 0, begun, screen, failures: HashMap::new() }
    }

    /// What the log must not write over.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Why the JSON cannot be written any more: its reader has gone, or the disk behind it is full.
    pub(crate) fn unheard(&self) -> Option<&std::io::Error> {
        match &self.mode {
            Mode::Json(lines) => lines.broken(),
            Mode::Quiet | Mode::Terminal | Mode::Log(_) => None,
        }
    }

    /// Says something once.
    pub(crate) fn say(&self, line: &str) {
        log::said(line);
        match self.mode {
            Mode::Quiet | Mode::Json(_) => {}
            Mode::Terminal | Mode::Log(_) => self.screen.suspend(|| write_line(line)),
        }
    }

    /// Says something about one torrent, which is named where there are others.
    pub(crate) fn say_of(&self, subject: &Subject, line: &str) {
        if self.several {
            self.say(&format!("{}: {line}", display::clean(&subject.name)));
        } else {
            self.say(line);
        }
    }

    /// A torrent is in the session.
    pub(crate) fn added(&mut self, source: &str, subject: &Subject, snapshot: &Snapshot) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.added(source, subject, snapshot);
        }
    }

    /// A magnet link's metadata is here.
    pub(crate) fn metadata(&mut self, source: &str, metainfo: &Metainfo) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.metadata(source, metainfo);
        }
        let info = &metainfo.info;
        let files = info.files.iter().filter(|file| !file.pad).count();
        let size = display::bytes(info.content_length());
        let count = display::count(files, "file", "files");
        self.say(&format!("{}: metadata is here: {size} in {count}", display::clean(&info.name)));
        if files > 1 {
            self.say(show::files(info, LISTED).trim_end());
        }
    }

    /// Everything that was wanted of a torrent is there.
    pub(crate) fn completed(&mut self, subject: &Subject, snapshot: &Snapshot, time: Duration) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.completed(subject, snapshot, time);
        }
        let figures = Figures::from(snapshot);
        self.say(&format!("{}: {}", subject.place, progress::summary(&figures, time)));
    }

    /// A torrent failed; `source` is what the user called it.
    pub(crate) fn failed(&mut self, source: &str, subject: Option<&Subject>, failure: &anyhow::Error) {
        log::said(&failure.to_string());
        if let Mode::Json(lines) = &mut self.mode {
            lines.failed(source, subject, failure);
        }
        let name = subject.filter(|_| self.several).map(|subject| display::clean(&subject.name));
        self.screen.suspend(|| error(name.as_deref(), failure));
    }

    /// Something that stops nothing but that the user should know.
    pub(crate) fn warn(&mut self, message: &str) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.warning(message);
        }
        self.say(&warning_line(message));
    }

    /// A command that was run for a torrent has failed.
    pub(crate) fn command_failed(&mut self, subject: &Subject, message: &str) {
        log::said(message);
        if let Mode::Json(lines) = &mut self.mode {
            lines.command_failed(subject, message);
        }
        let failure = anyhow::anyhow!("{message}");
        let name = display::clean(&subject.name);
        self.screen.suspend(|| error(Some(&name), &failure));
    }

    /// The DHT is joined, or nobody there answers: told to a person who is `waiting` for it, else by `-v` alone, since
    /// peers come from elsewhere too.
    pub(crate) fn dht(&mut self, event: &Event, waiting: bool) {
        if let (Mode::Json(lines), Event::DhtJoined { nodes }) = (&mut self.mode, event) {
            lines.dht_joined(*nodes);
        }
        let line = display::plain(&display::clean(&event.to_string()));
        if self.verbose || waiting {
            self.say(&line);
        } else {
            log::said(&line);
        }
    }

    /// How others reach us has changed.
    pub(crate) fn reached(&mut self, event: &Event) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.reached(event);
        }
        let line = display::plain(&display::clean(&event.to_string()));
        if self.verbose {
            self.say(&line);
        } else {
            log::said(&line);
        }
    }

    /// The program ends.
    pub(crate) fn ended(&mut self, status: Status) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.ended(status);
        }
    }

    /// Shows how things stand. On a terminal always; in a log when there was progress and some time has passed.
    pub(crate) fn show(&mut self, torrents: &[Shown<'_>], awaited: &[Awaited<'_>]) {
        match &mut self.mode {
            Mode::Quiet => {}
            Mode::Terminal => {
                self.screen.draw(lines(torrents, awaited, self.several));
            }
            Mode::Json(lines) => {
                for (subject, snapshot, _) in torrents.iter().filter(|(_, _, over)| !over) {
                    lines.progress(subject, snapshot);
                }
                for (subject, progress) in awaited {
                    lines.fetching(subject, progress);
                }
            }
            Mode::Log(told) => {
                for (subject, snapshot, _) in torrents.iter().filter(|(_, _, over)| !over) {
                    let figures = Figures::from(&**snapshot);
                    tell(told.entry(subject.info_hash.clone()), &figures, self.several);
                }
                for (subject, progress) in awaited {
                    let figures = Figures::of_fetch(&subject.name, progress);
                    // The torrent's own lines begin anew.
                    tell(told.entry(format!("magnet {}", subject.info_hash)), &figures, self.several);
                }
                if self.several && !torrents.is_empty() {
                    tell(told.entry(String::new()), &sum(torrents), false);
                }
            }
        }
    }

    /// Says what came of several torrents, of which `complete` are complete.
    pub(crate) fn sum(&self, torrents: &[Shown<'_>], complete: usize) {
        if self.several && !torrents.is_empty() {
            let figures = sum(torrents);
            let sum = if complete == torrents.len() {
                progress::summary(&figures, self.begun.elapsed())
            } else {
                let (all, received) = (torrents.len(), display::bytes(figures.downloaded));
                format!("{complete} of {all} complete, {received} received")
            };
            self.say(&format!("{}: {sum}", figures.name));
        }
    }

    /// Tells programs of an event that a person hears of in other words.
    pub(crate) fn event_for_programs(&mut self, subject: &Subject, event: &Event) {
        if let Mode::Json(lines) = &mut self.mode {
            lines.event(subject, event);
        }
    }

    /// Tells of an event if a person would want to know.
    pub(crate) fn event(&mut self, subject: &Subject, event: &Event) {
        self.event_for_programs(subject, event);
        match event {
            Event::Checked { good, pieces, .. } if *good > 0 => {
                self.say_of(subject, &format!("{good} of {pieces} pieces were there already"));
            }
            Event::Failed { message, .. } => {
                let message = display::plain(&display::clean(message));
                self.say_of(subject, &format!("paused: {message}"));
            }
            Event::Resumed(_) => self.say_of(subject, "the disk is well again; going on"),
            Event::TrackerFailed { url, message: told, .. } => {
                let known = self.failures.get(url).is_some_and(|before| before == told);
                if !known && (self.failures.len() < REMEMBERED || self.failures.contains_key(url)) {
                    let message = display::plain(&display::clean(told));
                    self.say_of(subject, &format!("tracker {}: {message}", display::clean(url)));
                    self.failures.insert(url.clone(), told.clone());
                }
            }
            Event::TrackerAnswered { url, .. } => {
                self.failures.remove(url);
            }
            Event::DhtAnswered { peers, announced_to, .. } if self.verbose => {
                let peers = display::count(*peers, "peer", "peers");
                self.say_of(subject, &format!("the DHT named {peers}; {announced_to} nodes know of us"));
            }
            Event::PieceFailed { piece, .. } if self.verbose => {
                self.say_of(subject, &format!("piece {piece} did not match its hash and is fetched again"));
            }
            Event::PeerBanned { address, reason, .. } if self.verbose => {
                self.say_of(subject, &format!("banned {address}: {reason}"));
            }
            // Seen in the figures, told by who waits for it, or too small to tell.
            Event::Progress(..)
            | Event::Checked { .. }
            | Event::Completed(_)
            | Event::Warning(_)
            | Event::PieceFailed { .. }
            | Event::PeerBanned { .. }
            | Event::Missed(_)
            | _ => {}
        }
    }

    /// Takes the progress line away.
    pub(crate) fn clear(&self) {
        self.screen.clear();
    }
}

/// The lines on the terminal: one for each torrent that is not over, as many as there is room for, and their sum.
fn lines(torrents: &[Shown<'_>], awaited: &[Awaited<'_>], several: bool) -> Vec<String> {
    let (rows, columns) = Screen::size();
    // The last column is left free: some terminals begin another line when it is written to.
    let columns = columns.saturating_sub(1);
    let paint = Paint::of_screen();
    let mut figures: Vec<Figures> = torrents
        .iter()
        .filter(|(_, _, over)| !over || !several)
        .map(|(_, snapshot, _)| Figures::from(&**snapshot))
        .chain(awaited.iter().map(|(subject, progress)| Figures::of_fetch(&subject.name, progress)))
        .collect();
    // The sum, a line that counts what is left out, and one for the cursor.
    let room = rows.saturating_sub(3).max(1);
    let hidden = figures.len().saturating_sub(room);
    if hidden > 0 {
        // What moves is shown first; the order among those is kept.
        figures.sort_by_key(|figures| match figures.phase {
            Phase::Downloading if figures.waiting.is_none() => 0,
            Phase::Checking { .. } | Phase::Hashing | Phase::Failed => 1,
            Phase::Seeding if figures.upload_rate > 0 => 2,
            Phase::Downloading | Phase::Metadata => 3,
            Phase::Queued => 4,
            Phase::Seeding => 5,
        });
        figures.truncate(room);
    }
    if several && !torrents.is_empty() {
        figures.push(sum(torrents));
    }
    let mut lines = progress::lines(&figures, columns, paint);
    if hidden > 0 {
        let more = display::cut(&format!("… and {hidden} more"), columns);
        lines.insert(room, more);
    }
    lines
}

fn sum(torrents: &[Shown<'_>]) -> Figures {
    let each: Vec<Figures> = torrents.iter().map(|(_, snapshot, _)| Figures::from(&**snapshot)).collect();
    Figures::sum(&each)
}

/// Writes a line into a log when it is due. Of `several` torrents each is told of when it begins something else.
fn tell(last: Entry<'_, String, Told>, figures: &Figures, several: bool) {
    // Where nothing lies there is nothing to check, which takes no time and is not worth a line.
    if matches!(figures.phase, Phase::Checking { done: 0, .. }) {
        return;
    }
    let told = Told {
        at: clock::now(),
        words: progress::words(figures),
        stage: (discriminant(&figures.phase), figures.waiting),
    };
    let due = match &last {
        Entry::Vacant(_) => true,
        Entry::Occupied(before) => {
            let before = before.get();
            let interval = if told.stage != before.stage {
                LOG_STAGE_INTERVAL
            } else if several {
                Duration::MAX
            } else if figures.phase == Phase::Seeding {
                SEEDING_INTERVAL
            } else {
                LOG_INTERVAL
            };
            told.words != before.words && told.at.duration_since(before.at) >= interval
        }
    };
    if due {
        let line = format!("{}: {}", figures.name, told.words);
        log::said(&line);
        write_line(&line);
        last.insert_entry(told);
    }
}
