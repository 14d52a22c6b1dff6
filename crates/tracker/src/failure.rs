//! Why a tracker gave no answer, in words for people.

use alloc::string::String;
use core::time::Duration;

use thiserror::Error;

/// When a refused request may be repeated (BEP 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before this much time has passed.
    After(Duration),
    /// Not at all: it is no tracker, or not for us.
    Never,
}

/// Why a request to a tracker came to nothing. Text from strangers is cleaned where it is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The tracker's name has no address, or its resolver does not answer.
    #[error("its name could not be resolved: {0}")]
    Dns(String),
    /// No connection could be made.
    #[error("no connection: {0}")]
    Connect(String),
    /// No answer in time.
    #[error("it does not answer")]
    TimedOut,
    /// The secure connection could not be set up.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// An HTTP status that is no success, and no reason in the body.
    #[error("it answers with HTTP status {status}")]
    HttpStatus {
        /// The status.
        status: u16,
        /// When it may be asked again, if it says so.
        retry: Option<Retry>,
    },
    /// The answer exceeds [`crate::http::MAX_BODY`].
    #[error("its answer is too long")]
    TooLong,
    /// The answer can't be read; says what is wrong with it.
    #[error("its answer can't be read: {0}")]
    Malformed(String),
    /// It sends us somewhere else, and we do not go there; says why.
    #[error("its redirect is not followed: {0}")]
    Redirect(String),
    /// The tracker says no ("failure reason", or an error packet).
    #[error("it refuses: {reason}")]
    Refused {
        /// The tracker's words, cleaned.
        reason: String,
        /// When it may be asked again, if it says so.
        retry: Option<Retry>,
    },
    /// Our settings don't let us speak to it (an address of the local network, for example).
    #[error("not contacted: {0}")]
    NotAllowed(String),
    /// Too many requests are waiting for answers.
    #[error("too many tracker requests are waiting; it will be tried later")]
    Busy,
    /// What the other variants have no word for.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// An HTTP status that is no success. 410 is "gone", for good.
    pub const fn status(status: u16) -> Self {
        Self::HttpStatus { status, retry: if status == 410 { Some(Retry::Never) } else { None } }
    }

    /// Whether the request did not get to the tracker, as far as we know.
    pub const fn is_unreached(&self) -> bool {
        matches!(self, Self::Dns(_) | Self::Connect(_) | Self::TimedOut)
    }

    /// When the tracker itself wants to be asked again.
    pub const fn retry(&self) -> Option<Retry> {
        match self {
            Self::Refused { retry, .. } | Self::HttpStatus { retry, .. } => *retry,
            Self::Dns(_)
            | Self::Connect(_)
            | Self::TimedOut
            | Self::Tls(_)
            | Self::TooLong
            | Self::Malformed(_)
            | Self::Redirect(_)
            | Self::NotAllowed(_)
            | Self::Busy
            | Self::Other(_) => None,
        }
    }

    /// The same failure of a server that said, beside its answer, how long to leave it alone ("Retry-After"). What the
    /// tracker itself says in its answer outweighs that.
    #[must_use]
    pub fn put_off(mut self, wait: Duration) -> Self {
        if let Self::Refused { retry: retry @ None, .. } | Self::HttpStatus { retry: retry @ None, .. } =
            &mut self
        {
            *retry = Some(Retry::After(wait));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn failures_read_as_sentences() {
        assert_eq!(Failure::TimedOut.to_string(), "it does not answer");
        let refused = Failure::Refused { reason: "Unregistered torrent".into(), retry: None };
        assert_eq!(refused.to_string(), "it refuses: Unregistered torrent");
    }

    #[test]
    fn the_trackers_own_word_outweighs_its_servers() {
        let wait = Duration::from_secs(120);
        assert_eq!(Failure::status(503).put_off(wait).retry(), Some(Retry::After(wait)));
        assert_eq!(Failure::status(410).put_off(wait).retry(), Some(Retry::Never));
        let refused = |retry| Failure::Refused { reason: String::new(), retry };
        assert_eq!(refused(None).put_off(wait), refused(Some(Retry::After(wait))));
        assert_eq!(refused(Some(Retry::Never)).put_off(wait), refused(Some(Retry::Never)));
        assert_eq!(Failure::TimedOut.put_off(wait), Failure::TimedOut);
    }

    #[test]
    fn gone_is_for_good() {
        assert_eq!(Failure::status(410).retry(), Some(Retry::Never));
        assert_eq!(Failure::status(404).retry(), None);
    }
}
