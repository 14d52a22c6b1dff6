//! `quelea man`: manual pages from the description of the command line.

use crate::args::{self, CommandLine, ManArgs};
use crate::display;
use crate::exit::Status;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::path::Path;

pub(crate) fn run(args: &ManArgs) -> anyhow::Result<Status> {
    let mut command = CommandLine::command();
    command.build();
    let Some(folder) = &args.dir else {
        return super::print(&page(&command, "quelea")?);
    };
    write_all(folder, "quelea", &command)?;
    Ok(Status::Done)
}

/// Writes the page of a command and those of all commands below it.
fn write_all(folder: &Path, name: &str, command: &Command) -> anyhow::Result<()> {
    write(folder, name, &page(command, name)?)?;
    for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
        write_all(folder, &format!("{name}-{}", part.get_name()), part)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, page: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.1"));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, page));
    written.map_err(|error| {
        let (path, error) = (display::clean(&path.to_string_lossy()), display::plain(&error.to_string()));
        Status::Disk.because(format!("cannot write {path}: {error}"))
    })
}

fn page(command: &Command, name: &str) -> anyhow::Result<Vec<u8>> {
    // What follows the options in the help has sections of its own here.
    let described = command.clone().after_help(None).after_long_help(None).display_name(name.to_owned());
    let man = Man::new(described)
        .title(name)
        .source(format!("quelea {}", env!("CARGO_PKG_VERSION")))
        .manual("Quelea");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text)?;
    }
    let whole = name == "quelea";
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    for (title, lines) in args::sections(whole) {
        let mut section = Roff::new();
        section.control("SH", [title]);
        section.control("nf", []);
        for line in lines.lines() {
            section.text([roman(line)]);
        }
        section.control("fi", []);
        section.to_writer(&mut text)?;
    }
    Ok(text)
}
