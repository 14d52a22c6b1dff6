//! Progress while files are hashed, on standard error: a bar on a terminal, sparse lines in a log.

use crate::clock;
use crate::display;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quelea::create::Progress;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Columns of a name, at most.
const NAME: usize = 32;

/// Shows how far hashing is.
pub(crate) struct Hashing {
    name: String,
    mode: Mode,
    begun: Instant,
    total: u64,
}

enum Mode {
    Quiet,
    Terminal(ProgressBar),
    Log { last: Instant },
}

impl Hashing {
    /// Begins to show; `name` need not be clean.
    #[allow(
        clippy::disallowed_methods,
        reason = "how long a person waits is shown; nothing here is replayed"
    )]
    pub(crate) fn new(name: &str, quiet: bool) -> Self {
        let begun = clock::now();
        let dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
        let mode = if quiet {
            Mode::Quiet
        } else if Term::stderr().is_term() && !dumb {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = "{prefix} [{wide_bar:.green}] {percent:>3}%  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            Mode::Terminal(bar)
        } else {
            Mode::Log { last: begun }
        };
        Self { name: display::clean(name), mode, begun, total: 0 }
    }

    /// Shows progress. Never asks to stop.
    pub(crate) fn show(&mut self, progress: Progress) -> ControlFlow<()> {
        let Progress { done, total } = progress;
        self.total = total;
        let elapsed = self.begun.elapsed();
        match &mut self.mode {
            Mode::Quiet => {}
            Mode::Terminal(bar) => {
                bar.set_prefix(display::cut(&self.name, NAME));
                bar.set_length(total);
                bar.set_position(done);
                let left = total.saturating_sub(done);
                let eta = u128::from(left) * elapsed.as_millis() / u128::from(done.max(1));
                let eta = Duration::from_millis(u64::try_from(eta).unwrap_or(u64::MAX));
                let rate = display::rate(per_second(done, elapsed));
                bar.set_message(format!("{rate:>10}  ETA {}", display::span(eta)));
            }
            Mode::Log { last } if last.elapsed() >= LOG_INTERVAL && done < total => {
                *last = self.begun + elapsed;
                let _ = writeln!(
                    std::io::stderr().lock(),
                    "{}: hashed {} of {}",
                    self.name,
                    display::percent(done, total),
                    display::bytes(total)
                );
            }
            Mode::Log { .. } => {}
        }
        ControlFlow::Continue(())
    }

    /// Takes the bar away, and tells what was hashed: `45.1 GiB in 42s, 1.1 GiB/s`.
    pub(crate) fn finish(self) -> String {
        let elapsed = self.begun.elapsed();
        if let Mode::Terminal(bar) = &self.mode {
            bar.finish_and_clear();
        }
        let (bytes, time) = (display::bytes(self.total), display::span(elapsed));
        if elapsed < Duration::from_secs(1) {
            bytes
        } else {
            format!("{bytes} in {time}, {}", display::rate(per_second(self.total, elapsed)))
        }
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        if let Mode::Terminal(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000 / time.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
