//! How the program ends: exit codes, and which error gives which.

use std::fmt;
use std::process::ExitCode;

/// What the exit code tells. The table in the help is made from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything asked for was done.
    Done,
    /// Something failed that has no code of its own.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The torrent, magnet link or bencode itself is refused.
    Refused,
    /// A file could not be read or written.
    Disk,
    /// An address could not be listened on, or a server not reached.
    Network,
    /// Data that were to be verified are missing or damaged.
    Incomplete,
    /// A time that was set has passed before everything was done.
    GaveUp,
    /// Stopped by a signal before everything was done.
    Interrupted,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Refused,
        Self::Disk,
        Self::Network,
        Self::Incomplete,
        Self::GaveUp,
        Self::Interrupted,
    ];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Disk => 4,
            Self::Network => 5,
            Self::Incomplete => 6,
            Self::GaveUp => 7,
            Self::Interrupted => 130,
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "everything asked for was done",
            Self::Failed => "something else went wrong, or doctor found something bad",
            Self::Usage => "the command line or the configuration makes no sense, or selects no file",
            Self::Refused => "the torrent, magnet link or bencode is not valid or not supported",
            Self::Disk => "a file could not be read or written",
            Self::Network => "an address could not be listened on, or a server not reached",
            Self::Incomplete => "verify found data that are missing or damaged",
            Self::GaveUp => "not complete within --timeout, or stalled; the same command goes on",
            Self::Interrupted => "interrupted before the download was complete; the same command goes on",
        }
    }
}

impl Status {
    /// The one of two that a person would rather know of, where several torrents ended differently.
    pub(crate) fn worse(self, other: Self) -> Self {
        let weight = |status: Self| match status {
            Self::Done => 0,
            Self::Interrupted => 1,
            Self::GaveUp => 2,
            Self::Incomplete => 3,
            Self::Usage => 4,
            Self::Refused => 5,
            Self::Network => 6,
            Self::Disk => 7,
            Self::Failed => 8,
        };
        if weight(other) > weight(self) { other } else { self }
    }

    /// An error that ends the program with this status. Foreign text in the message must be clean.
    pub(crate) fn because(self, message: impl Into<String>) -> anyhow::Error {
        Failure { status: self, message: message.into() }.into()
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Every exit code and its meaning, a line each.
pub(crate) fn table() -> String {
    Status::ALL.iter().map(|status| format!("  {:>3}  {}\n", status.code(), status.meaning())).collect()
}

/// An error that decides the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code of an error that came all the way up.
pub(crate) fn status_of(error: &anyhow::Error) -> Status {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.status;
    }
    match error.downcast_ref::<quelea::Error>() {
        Some(quelea::Error::Metainfo(_) | quelea::Error::Unsupported(_)) => Status::Refused,
        Some(
            quelea::Error::ReadTorrent { .. }
            | quelea::Error::Storage(_)
            | quelea::Error::State(_)
            | quelea::Error::InUse { .. },
        ) => Status::Disk,
        Some(quelea::Error::Listen { .. }) => Status::Network,
        Some(quelea::Error::NothingSelected) => Status::Usage,
        Some(_) | None => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn no_two_endings_share_a_code() {
        let mut codes: Vec<u8> = Status::ALL.iter().map(|status| status.code()).collect();
        codes.dedup();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }

    #[test]
    fn of_several_endings_the_worst_counts() {
        let mut order = Status::ALL;
        order.sort_by(|a, b| if a.worse(*b) == *a && a != b { Ordering::Greater } else { Ordering::Less });
        assert_eq!(order.map(Status::code), [0, 130, 7, 6, 2, 3, 5, 4, 1]);
    }

    #[test]
    fn the_engines_errors_have_their_codes() {
        assert_eq!(status_of(&Status::Network.because("no answer")), Status::Network);
        assert_eq!(status_of(&quelea::Error::NothingSelected.into()), Status::Usage);
        assert_eq!(status_of(&quelea::Error::Unsupported("why").into()), Status::Refused);
        assert_eq!(status_of(&quelea::Error::Closed.into()), Status::Failed);
    }
}
