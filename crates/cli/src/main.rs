//! The command-line program: options in, an exit code out.
#![forbid(unsafe_code)]

mod args;
mod command;
mod display;
mod exit;
mod hashing;
mod log;
mod progress;
mod report;
mod select;
mod signals;
mod source;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match command::run(&args::CommandLine::parse()) {
        Ok(status) => status.into(),
        Err(error) => {
            report::error(&error);
            exit::status_of(&error).into()
        }
    }
}
