//! Progress while files are hashed, on standard error: a bar on a terminal, sparse lines in a log.

use crate::clock;
use crate::display;
use crate::figures::Figures;
use crate::progress::{self, Paint};
use crate::screen::Screen;
use quelea::create::Progress;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;

/// The shortest time between two lines in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shows how far hashing is.
pub(crate) struct Hashing {
    name: String,
    mode: Mode,
    begun: Instant,
    total: u64,
}

enum Mode {
    Quiet,
    Terminal(Screen),
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
        let mode = if quiet {
            Mode::Quiet
        } else if Screen::is_terminal() {
            Mode::Terminal(Screen::default())
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
            Mode::Terminal(screen) => {
                let left = total.saturating_sub(done);
                let eta = u128::from(left) * elapsed.as_millis() / u128::from(done.max(1));
                let eta = Duration::from_millis(u64::try_from(eta).unwrap_or(u64::MAX));
                let figures = Figures::of_hashing(&self.name, done, total, per_second(done, elapsed), eta);
                screen.draw(progress::lines(
                    &[figures],
                    Screen::size().1.saturating_sub(1),
                    Paint::of_screen(),
                ));
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
        if let Mode::Terminal(screen) = &self.mode {
            screen.clear();
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
        if let Mode::Terminal(screen) = &self.mode {
            screen.clear();
        }
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000 / time.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
