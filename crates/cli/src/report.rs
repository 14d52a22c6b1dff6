//! What a download tells its user, on standard error: a progress line on a terminal, sparse lines in a log,
//! nothing but errors when quiet.

use crate::args::GetArgs;
use crate::display;
use crate::exit::Failure;
use crate::progress::{self, Figures, Paint, Phase};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quelea::{Event, Waiting};
use std::collections::HashMap;
use std::io::Write;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two lines in a log while nothing but figures change, and while seeding.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
const SEEDING_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest time between two lines in a log when the torrent began to do or to wait for something else.
const LOG_STAGE_INTERVAL: Duration = Duration::from_secs(1);
/// Trackers whose last failure is remembered, so that it is told once.
const REMEMBERED: usize = 256;

/// Prints why the program ends. Text that comes from outside is made harmless; our own may have several lines.
pub(crate) fn error(error: &anyhow::Error) {
    let text = error.to_string();
    let text = if error.is::<Failure>() { text } else { display::clean(&text) };
    write_line(&format!("quelea: {}", display::plain(&text)));
}

/// Nothing can be done about a standard error that is closed.
fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Where the user looks, and what was told already.
pub(crate) struct Report {
    mode: Mode,
    /// Whether small misfortunes are told: a piece that failed, a peer that was banned.
    verbose: bool,
    bar: ProgressBar,
    failures: HashMap<String, String>,
}

enum Mode {
    Quiet,
    Terminal,
    Log { last: Option<Told> },
}

/// The line about progress that stands in a log.
struct Told {
    at: Instant,
    words: String,
    stage: (Discriminant<Phase>, Option<Waiting>),
}

impl Report {
    pub(crate) fn new(args: &GetArgs) -> Self {
        let terminal = Term::stderr();
        // What cannot move its cursor gets lines, like a file.
        let dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
        let mode = if args.quiet {
            Mode::Quiet
        } else if terminal.is_term() && !dumb {
            Mode::Terminal
        } else {
            Mode::Log { last: None }
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { mode, verbose: args.verbose > 0, bar, failures: HashMap::new() }
    }

    /// What the log must not write over.
    pub(crate) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Says something once.
    pub(crate) fn say(&self, line: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Terminal | Mode::Log { .. } => self.bar.suspend(|| write_line(line)),
        }
    }

    /// Shows how things stand. On a terminal always; in a log when there was progress and some time has passed.
    pub(crate) fn show(&mut self, figures: &Figures) {
        match &mut self.mode {
            Mode::Quiet => {}
            Mode::Terminal => {
                if self.bar.is_hidden() {
                    self.bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                // The last column is left free: some terminals begin another line when it is written to.
                let columns = usize::from(Term::stderr().size().1).saturating_sub(1);
                let paint = if console::colors_enabled_stderr() { Paint::Coloured } else { Paint::Plain };
                self.bar.set_message(progress::line(figures, columns, paint));
            }
            // Where nothing lies there is nothing to check, which takes no time and is not worth a line.
            Mode::Log { .. } if matches!(figures.phase, Phase::Checking { done: 0, .. }) => {}
            Mode::Log { last } => {
                let told = Told {
                    at: Instant::now(),
                    words: progress::words(figures),
                    stage: (discriminant(&figures.phase), figures.waiting),
                };
                let due = last.as_ref().is_none_or(|before| {
                    let interval = if told.stage != before.stage {
                        LOG_STAGE_INTERVAL
                    } else if figures.phase == Phase::Seeding {
                        SEEDING_INTERVAL
                    } else {
                        LOG_INTERVAL
                    };
                    told.words != before.words && told.at.duration_since(before.at) >= interval
                });
                if due {
                    write_line(&format!("{}: {}", figures.name, told.words));
                    *last = Some(told);
                }
            }
        }
    }

    /// Tells of an event if a person would want to know.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Checked { good, pieces, .. } if *good > 0 => {
                self.say(&format!("{good} of {pieces} pieces were there already"));
            }
            Event::TrackerFailed { url, message: told, .. } => {
                let known = self.failures.get(url).is_some_and(|before| before == told);
                if !known && (self.failures.len() < REMEMBERED || self.failures.contains_key(url)) {
                    let message = display::plain(&display::clean(told));
                    self.say(&format!("tracker {}: {message}", display::clean(url)));
                    self.failures.insert(url.clone(), told.clone());
                }
            }
            Event::TrackerAnswered { url, .. } => {
                self.failures.remove(url);
            }
            Event::PieceFailed { piece, .. } if self.verbose => {
                self.say(&format!("piece {piece} did not match its hash and is fetched again"));
            }
            Event::PeerBanned { address, reason, .. } if self.verbose => {
                self.say(&format!("banned {address}: {reason}"));
            }
            // Seen in the figures, told by who waits for it, or too small to tell.
            Event::Progress(..)
            | Event::Checked { .. }
            | Event::Completed(_)
            | Event::Failed { .. }
            | Event::PieceFailed { .. }
            | Event::PeerBanned { .. }
            | Event::Missed(_)
            | _ => {}
        }
    }

    /// Takes the progress line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
