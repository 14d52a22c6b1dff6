//! The log: tracing's lines on standard error, above the progress line and without breaking it, and in a file.

use crate::args::Options;
use crate::display;
use crate::exit::Status;
use indicatif::ProgressBar;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Names a filter that replaces what `-v` asks for.
const FILTER_VARIABLE: &str = "QUELEA_LOG";
/// What is on the screen already, so that only the file is told again.
const SAID: &str = "said";

/// Begins logging. On standard error: warnings, with `-v` what happens, with `-vv` and `-vvv` how; when quiet only
/// errors. In the file what happens and what was said to the user, with `-vv` and `-vvv` more.
pub(crate) fn start(options: &Options, bar: &ProgressBar) -> anyhow::Result<()> {
    let level = match (options.quiet, options.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let bar = bar.clone();
    let screen = fmt::layer()
        .with_ansi(console::colors_enabled_stderr())
        .with_writer(move || AboveBar { bar: bar.clone(), line: Vec::new() })
        .with_filter(filter(&format!("quelea={level}"))?);
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

/// What `QUELEA_LOG` asks for, else `usual`.
fn filter(usual: &str) -> anyhow::Result<EnvFilter> {
    match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            let error = display::clean(&error.to_string());
            Status::Usage.because(format!("{FILTER_VARIABLE} is not a log filter: {error}"))
        }),
        Ok(_) | Err(_) => Ok(EnvFilter::new(usual)),
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        let (shown, error) = (display::clean(&path.to_string_lossy()), display::plain(&error.to_string()));
        Status::Disk.because(format!("cannot write the log to {shown}: {error}"))
    })
}

/// Collects one event and writes it at once while the progress line is out of the way.
struct AboveBar {
    bar: ProgressBar,
    line: Vec<u8>,
}

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AboveBar {
    fn drop(&mut self) {
        // A log that nobody can read is no reason to stop.
        let _ = self.bar.suspend(|| io::stderr().lock().write_all(&self.line));
    }
}
