//! The command-line program: options in, an exit code out.
#![allow(
    clippy::disallowed_methods,
    reason = "a person is shown the time that passes for them; nothing here is replayed"
)]
#![forbid(unsafe_code)]

mod args;
mod clock;
mod command;
mod config;
mod display;
mod exit;
mod figures;
mod hashing;
mod home;
mod json;
mod known;
mod log;
mod metadata;
mod progress;
mod quantity;
mod report;
mod save;
mod screen;
mod select;
mod signals;
mod source;
mod state;

use std::process::ExitCode;

fn main() -> ExitCode {
    signals::outlive_file_limit();
    match config::settle().and_then(|(line, settled)| command::run(&line, &settled)) {
        Ok(status) => status.into(),
        Err(error) => {
            report::error(None, &error);
            exit::status_of(&error).into()
        }
    }
}
