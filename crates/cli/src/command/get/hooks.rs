//! The command that is run for each torrent that is complete: `--on-complete`.

use super::Downloads;
use crate::display;
use crate::exit::Status;
use crate::report::Subject;
use quelea::TorrentId;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Commands that run at a time.
const AT_ONCE: usize = 4;
/// Once everything else is done, those that still run have this long.
const PATIENCE: Duration = Duration::from_secs(600);

/// The commands that wait and run.
pub(super) struct Hooks {
    waiting: VecDeque<(Subject, Command)>,
    running: JoinSet<(Subject, io::Result<ExitStatus>)>,
    /// Since when nothing else is to be done.
    alone_since: Option<Instant>,
}

impl Hooks {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), running: JoinSet::new(), alone_since: None }
    }

    pub(super) fn are_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    fn begin_more(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some((subject, mut command)) = self.waiting.pop_front()
        {
            self.running.spawn_blocking(move || (subject, command.status()));
        }
    }

    /// The next that ends, and how; never when none runs.
    pub(super) async fn next(&mut self) -> (Subject, io::Result<ExitStatus>) {
        loop {
            match self.running.join_next().await {
                Some(Ok(ended)) => return ended,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Whether they are left to themselves: everything else is done since `now` or longer ago than they are waited for.
    pub(super) fn are_given_up(&mut self, now: Instant) -> bool {
        !self.are_done() && now.duration_since(*self.alone_since.get_or_insert(now)) >= PATIENCE
    }
}

/// The user's line in a shell, with the torrent in variables: no name is ever read by the shell.
fn shell(line: &str, subject: &Subject, dir: &Path, path: &Path) -> Command {
    let (program, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut command = Command::new(program);
    command.arg(flag).arg(line);
    command.env("QUELEA_TORRENT_NAME", &subject.name);
    command.env("QUELEA_TORRENT_PATH", absolute(path));
    command.env("QUELEA_TORRENT_DIR", absolute(dir));
    command.env("QUELEA_TORRENT_HASH", &subject.info_hash);
    // Standard output is for JSON.
    command.stdin(Stdio::null()).stdout(io::stderr());
    command
}

impl Downloads<'_> {
    /// A torrent is complete: its command is run, if there is one.
    pub(super) fn run_hook(&mut self, id: TorrentId) {
        let (Some(line), Some(entry)) = (&self.options.ends.on_complete, self.entries.get(&id)) else {
            return;
        };
        let command = shell(line, &entry.subject, &entry.dir, &entry.path);
        self.hooks.waiting.push_back((entry.subject.clone(), command));
        self.hooks.begin_more();
    }

    /// A command has ended, well or not.
    pub(super) fn hook_ended(&mut self, subject: &Subject, ended: io::Result<ExitStatus>) {
        self.hooks.begin_more();
        let why = match ended {
            Ok(status) if status.success() => return,
            Ok(status) => status.to_string(),
            Err(error) => display::plain(&error.to_string()),
        };
        self.worst = self.worst.worse(Status::Failed);
        let message = format!("the command of --on-complete failed: {why}");
        self.report.command_failed(subject, &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn nothing_of_a_torrent_is_read_by_the_shell() {
        let folder = tempfile::tempdir().unwrap();
        let name = "$(touch harmed); touch harmed '\"`touch harmed`\n".to_owned();
        let subject = Subject { name: name.clone(), info_hash: "0123".to_owned(), place: String::new() };
        let line =
            "printf '%s|%s|%s' \"$QUELEA_TORRENT_NAME\" \"$QUELEA_TORRENT_PATH\" \"$QUELEA_TORRENT_HASH\"";
        let path = folder.path().join(&name);
        let mut command = shell(line, &subject, folder.path(), &path);
        let told = command.current_dir(folder.path()).stdout(Stdio::piped()).output().unwrap().stdout;
        assert_eq!(String::from_utf8(told).unwrap(), format!("{name}|{}|0123", path.display()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
