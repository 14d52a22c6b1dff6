//! The home directory, for paths that no shell has expanded: in variables, in the configuration file, behind `=`.

use std::ffi::OsString;
use std::path::PathBuf;

/// The path with a leading `~/`, or `~` alone, standing for the home directory. `./~` is a folder of that name.
pub(crate) fn expand(path: OsString) -> PathBuf {
    expand_to(path, directory())
}

fn directory() -> Option<PathBuf> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    std::env::var_os(variable).map(PathBuf::from).filter(|home| home.is_absolute())
}

fn expand_to(path: OsString, home: Option<PathBuf>) -> PathBuf {
    let path = PathBuf::from(path);
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
        (Ok(rest), Some(home)) => home.join(rest),
        (Ok(_) | Err(_), _) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_tilde_is_the_home_directory_and_no_other_is() {
        let expanded = |path: &str| expand_to(path.into(), Some("/home/me".into()));
        assert_eq!(expanded("~/a/b"), PathBuf::from("/home/me/a/b"));
        assert_eq!(expanded("~"), PathBuf::from("/home/me"));
        for path in ["./~", "a/~/b", "~other/a", "~a", "none", "."] {
            assert_eq!(expanded(path), PathBuf::from(path));
        }
        assert_eq!(expand_to("~/a".into(), None), PathBuf::from("~/a"));
    }
}
