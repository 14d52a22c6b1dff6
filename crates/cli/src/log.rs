//! The log: tracing's lines on standard error, above the progress line and without breaking it, and in a file.

use crate::args::Options;
use crate::display;
use crate::exit::Status;
use crate::screen::Screen;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Names a filter that replaces what `-v` asks for.
const FILTER_VARIABLE: &str = "QUELEA_LOG";
/// What is on the screen already, so that only the file is told again.
const SAID: &str = "said";
/// What the library tells as an event too, which is how the user hears of it.
const TOLD: &str = "quelea_event=off";
/// Warnings that are remembered, so that each is printed once.
const REMEMBERED: usize = 256;

/// Begins logging. On standard error: warnings, as sentences and each once; with `-v` what happens, with `-vv` and
/// `-vvv` how, as lines of a log; when quiet only errors. In the file what happens and what was said to the user, with
/// `-vv` and `-vvv` more.
pub(crate) fn start(options: &Options, screen: &Screen) -> anyhow::Result<()> {
    let level = match (options.quiet, options.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let lines = screen.clone();
    let screen = fmt::layer()
        .with_ansi(console::colors_enabled_stderr())
        .with_writer(move || AboveLines { lines: lines.clone(), event: Vec::new() });
    let screen_filter = filter(&format!("quelea={level}"))?;
    let is_log =
        options.verbose > 0 || std::env::var_os(FILTER_VARIABLE).is_some_and(|text| !text.is_empty());
    let screen = if is_log {
        screen.with_filter(screen_filter).boxed()
    } else {
        screen.event_format(Sentences::default()).with_filter(screen_filter).boxed()
    };
    let file = match &options.log_file {
        Some(path) => {
            let level = match options.verbose {
                0 | 1 => "info",
                2 => "debug",
                _ => "trace",
            };
            let layer = fmt::layer().with_ansi(false).with_writer(Mutex::new(open(path)?));
            let filter = filter(&format!("{SAID}=info,quelea={level}"))?;
            Some(layer.with_filter(filter))
        }
        None => None,
    };
    let begun = tracing_subscriber::registry().with(screen).with(file).try_init();
    begun.map_err(|error| Status::Failed.because(format!("cannot begin logging: {error}")))
}

/// Puts what the user was told into the file.
pub(crate) fn said(line: &str) {
    tracing::info!(target: SAID, "{line}");
}

/// The filter in `QUELEA_LOG`, or `default` if that is not set.
fn filter(default: &str) -> anyhow::Result<EnvFilter> {
    match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            let error = display::clean(&error.to_string());
            Status::Usage.because(format!("{FILTER_VARIABLE} is not a log filter: {error}"))
        }),
        Ok(_) | Err(_) => Ok(EnvFilter::new(format!("{default},{TOLD}"))),
    }
}

/// Writes what the library warns of as a sentence, as it stands on the screen of somebody who asked for no log:
/// `warning: cannot accept connections: Too many open files`. The same one is written once.
#[derive(Default)]
struct Sentences {
    written: Mutex<HashSet<String>>,
}

impl<S, N> FormatEvent<S, N> for Sentences
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let mut sentence = Sentence::default();
        event.record(&mut sentence);
        let word = if *event.metadata().level() == Level::ERROR { "quelea" } else { "warning" };
        let line = sentence.line(word);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.contains(&line) {
            return Ok(());
        }
        writeln!(writer, "{line}")?;
        if written.len() < REMEMBERED {
            written.insert(line);
        }
        Ok(())
    }
}

/// An event's message, and its fields in their order.
#[derive(Default)]
struct Sentence {
    message: String,
    details: Vec<String>,
}

impl Sentence {
    fn line(&self, word: &str) -> String {
        let mut line = format!("{word}: {}", self.message);
        for detail in &self.details {
            line.push_str(": ");
            line.push_str(detail);
        }
        display::plain(&display::clean(&line))
    }
}

impl Visit for Sentence {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            self.message = value;
        } else {
            self.details.push(value);
        }
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        let (shown, error) = (display::clean(&path.to_string_lossy()), display::plain(&error.to_string()));
        Status::Disk.because(format!("cannot write the log to {shown}: {error}"))
    })
}

/// Collects one event and writes it at once while the progress lines are out of the way.
struct AboveLines {
    lines: Screen,
    event: Vec<u8>,
}

impl Write for AboveLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.event.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AboveLines {
    fn drop(&mut self) {
        // A log that nobody can read is no reason to stop.
        if !self.event.is_empty() {
            let _ = self.lines.suspend(|| io::stderr().lock().write_all(&self.event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_warning_is_one_sentence_and_written_once() {
        let screen = Screen::default();
        let writer = screen.clone();
        let layer = fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(Sentences::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..3 {
                let error = io::Error::from_raw_os_error(24);
                tracing::warn!(url = "udp://a\u{1b}", %error, "this tracker is not used");
            }
            tracing::error!("no more");
        });
        let written = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        let error = display::plain(&io::Error::from_raw_os_error(24).to_string());
        assert_eq!(
            written,
            format!("warning: this tracker is not used: udp://a_: {error}\nquelea: no more\n")
        );
    }
}
