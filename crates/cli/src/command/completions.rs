//! `quelea completions`: what a shell needs to complete our command line.

use crate::args::{CommandLine, CompletionsArgs};
use crate::exit::Status;
use clap::CommandFactory;

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<Status> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "quelea", &mut text);
    super::print(&text)
}
