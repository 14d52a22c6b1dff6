//! What the program does, a file each.

mod bencode;
mod completions;
mod config;
mod create;
mod dht;
mod doctor;
mod forget;
mod get;
mod list;
mod magnet;
mod man;
mod resume;
pub(crate) mod show;
mod verify;

use crate::args::{Command, CommandLine};
use crate::config::Settled;
use crate::exit::Status;
use std::io::{ErrorKind, Write};

pub(crate) fn run(line: &CommandLine, settled: &Settled) -> anyhow::Result<Status> {
    match &line.command {
        None => get::run(&line.get),
        Some(Command::Get(args)) => get::run(args),
        Some(Command::Resume(args)) => resume::run(args),
        Some(Command::List(args)) => list::run(args),
        Some(Command::Forget(args)) => forget::run(args),
        Some(Command::Show(args)) => show::run(args),
        Some(Command::Create(args)) => create::run(args),
        Some(Command::Verify(args)) => verify::run(args),
        Some(Command::Magnet(args)) => magnet::run(args),
        Some(Command::Dht(args)) => dht::run(args),
        Some(Command::Bencode(args)) => bencode::run(args),
        Some(Command::Config(args)) => config::run(args, settled),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Completions(args)) => completions::run(args),
        Some(Command::Man(args)) => man::run(args),
    }
}

/// Writes a whole answer to standard output. A reader that has seen enough and closed it is no error.
fn print(text: &[u8]) -> anyhow::Result<Status> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Status::Disk.because(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(Status::Done),
    }
}
