//! The log: tracing's lines on standard error, above the progress line and without breaking it.

use crate::display;
use crate::exit::Status;
use indicatif::ProgressBar;
use std::io::{self, Write};
use tracing_subscriber::EnvFilter;

/// Names a filter that replaces what `-v` asks for.
const FILTER_VARIABLE: &str = "QUELEA_LOG";

/// Begins logging: warnings, with `-v` what happens, with `-vv` and `-vvv` how; when `quiet` only errors.
pub(crate) fn start(verbose: u8, quiet: bool, bar: &ProgressBar) -> anyhow::Result<()> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            let error = display::clean(&error.to_string());
            Status::Usage.because(format!("{FILTER_VARIABLE} is not a log filter: {error}"))
        })?,
        Ok(_) | Err(_) => EnvFilter::new(match (quiet, verbose) {
            (true, _) => "quelea=error",
            (false, 0) => "quelea=warn",
            (false, 1) => "quelea=info",
            (false, 2) => "quelea=debug",
            (false, _) => "quelea=trace",
        }),
    };
    let bar = bar.clone();
    let begun = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(console::colors_enabled_stderr())
        .with_writer(move || AboveBar { bar: bar.clone(), line: Vec::new() })
        .try_init();
    begun.map_err(|error| Status::Failed.because(format!("cannot begin logging: {error}")))
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
