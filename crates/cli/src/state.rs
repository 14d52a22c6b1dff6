//! Where it is remembered which pieces are good.

use crate::display;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The word for remembering nothing.
const NONE: &str = "none";

/// The directory for the state: the one that was asked for, else the user's, which the XDG Base Directory
/// Specification names.
pub(crate) fn directory(asked: Option<&Path>) -> Option<PathBuf> {
    match asked {
        Some(path) => (path.as_os_str() != OsStr::new(NONE)).then(|| path.to_owned()),
        None => default_directory(|name| std::env::var_os(name).map(PathBuf::from)),
    }
}

/// As [`directory`], made unless it is there. The user's own is done without where it cannot be made or written to; then
/// there is a message that says so.
pub(crate) fn prepared(asked: Option<&Path>) -> (Option<PathBuf>, Option<String>) {
    match directory(asked) {
        Some(directory) if asked.is_none() => match prepare(&directory) {
            Ok(()) => (Some(directory), None),
            Err(message) => (None, Some(message)),
        },
        directory => (directory, None),
    }
}

fn prepare(directory: &Path) -> Result<(), String> {
    let made = std::fs::create_dir_all(directory).and_then(|()| writable(directory));
    made.map_err(|error| {
        let (directory, error) = (directory.to_string_lossy(), display::plain(&error.to_string()));
        format!(
            "nothing of this download is remembered for the next start, since {directory} cannot be used: {error}; name \
             a directory with --state-dir, or none"
        )
    })
}

#[cfg(unix)]
fn writable(directory: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn writable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn default_directory(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|path| path.is_absolute());
    let parent = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else {
        folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))
    };
    parent.map(|parent| parent.join("quelea"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_that_was_asked_for_wins_and_none_is_none() {
        assert_eq!(directory(Some(Path::new("here"))), Some(PathBuf::from("here")));
        assert_eq!(directory(Some(Path::new("./none"))), Some(PathBuf::from("./none")));
        assert_eq!(directory(Some(Path::new("none"))), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_directory_that_cannot_be_made_is_told() {
        let told = prepare(Path::new("/dev/null/.local/state/quelea")).unwrap_err();
        assert!(
            told.contains("since /dev/null/.local/state/quelea cannot be used: Not a directory"),
            "{told}"
        );
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("a/b");
        prepare(&directory).unwrap();
        assert!(directory.is_dir());
    }

    #[test]
    #[cfg(unix)]
    fn the_default_directory_is_the_users() {
        let of = |set: &[(&str, &str)]| {
            default_directory(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, path)| PathBuf::from(path))
            })
        };
        assert_eq!(of(&[("HOME", "/home/me")]), Some(PathBuf::from("/home/me/.local/state/quelea")));
        let both = [("XDG_STATE_HOME", "/state"), ("HOME", "/home/me")];
        assert_eq!(of(&both), Some(PathBuf::from("/state/quelea")));
        assert_eq!(of(&[("XDG_STATE_HOME", "relative"), ("HOME", "")]), None);
    }
}
