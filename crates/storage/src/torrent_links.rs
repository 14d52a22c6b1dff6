//! The symbolic links that a torrent has (BEP 47, `attr` l and `symlink path`).
//!
//! They hold no bytes, so a store makes them when everything else is there, and takes them away before its files are
//! moved. A link is made with a relative target that is a file or folder of the same torrent, in a folder that is
//! reached through no link, and never in the place of anything that is there. A link is one of the torrent's if it says
//! what the torrent's would say; any other is the user's and is left alone.

use crate::file_layer::{FileLayer, System};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

/// A link of a torrent, by the numbers of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TorrentLink {
    /// The file that is a link.
    pub file: usize,
    /// A file of the torrent that is none: the target, or one in the folder that is the target.
    pub target: usize,
    /// How many folders above `target` the link leads to; 0 for the file itself.
    pub above: usize,
}

/// What is in the place of a torrent's link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// The link.
    Good,
    /// Nothing.
    Missing,
    /// A link that leads elsewhere: to this.
    Elsewhere(PathBuf),
    /// Something that is no link.
    NotALink,
}

/// A link that was not made, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLeftOut {
    /// Where it belongs.
    pub path: PathBuf,
    /// The reason, as the end of a sentence.
    pub reason: String,
}

impl TorrentLink {
    /// The file or folder that the link leads to, if the torrent's files have these paths.
    fn target<'p>(&self, paths: &'p [PathBuf]) -> Option<&'p Path> {
        paths.get(self.target)?.ancestors().nth(self.above).filter(|at| !at.as_os_str().is_empty())
    }

    /// Where the link belongs below the download directory, and its text, if the torrent's files have these paths.
    fn place<'p>(&self, paths: &'p [PathBuf]) -> Option<(&'p Path, PathBuf)> {
        let (link, target) = (paths.get(self.file)?, self.target(paths)?);
        let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain(link) || !plain(target) || link.starts_with(target) {
            return None;
        }
        let folder = link.parent()?;
        let shared = folder.iter().zip(target).take_while(|(one, other)| one == other).count();
        let up = folder.iter().skip(shared).map(|_| Path::new(".."));
        let down = target.iter().skip(shared).map(Path::new);
        Some((link, up.chain(down).collect()))
    }

    /// What is in its place in the directory `root`.
    pub fn look(&self, root: &Path, paths: &[PathBuf]) -> LinkState {
        let Some((link, text)) = self.place(paths) else { return LinkState::Missing };
        match root.join(link).symlink_metadata() {
            Err(_) => LinkState::Missing,
            Ok(found) if !found.is_symlink() => LinkState::NotALink,
            Ok(_) => match std::fs::read_link(root.join(link)) {
                Ok(found) if found == text => LinkState::Good,
                Ok(found) => LinkState::Elsewhere(found),
                Err(_) => LinkState::Missing,
            },
        }
    }

    /// Makes the link if it is not there and its target is.
    fn make(&self, root: &Path, paths: &[PathBuf]) -> Result<(), String> {
        let Some((link, text)) = self.place(paths) else {
            return Err("its target is not in the torrent's folder".to_owned());
        };
        match self.look(root, paths) {
            LinkState::Good => return Ok(()),
            LinkState::Missing => {}
            LinkState::Elsewhere(_) | LinkState::NotALink => {
                return Err("something else is in its place, which is left alone".to_owned());
            }
        }
        // The link's own folder may not be there yet, so its text leads nowhere.
        if self.target(paths).is_none_or(|target| root.join(target).symlink_metadata().is_err()) {
            // Not wanted, perhaps.
            return Err(format!("its target {text:?} is not there"));
        }
        let make = || -> std::io::Result<()> {
            let opened = System.open_root(root)?;
            System.create_folders(opened.as_fd(), link)?;
            System.make_link(opened.as_fd(), link, &text)
        };
        make().map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                "the file system takes no links, or its folder takes no files".to_owned()
            }
            Some(Errno::NOTDIR | Errno::LOOP) => "its folder is a link of yours".to_owned(),
            _ => error.to_string(),
        })
    }

    fn remove(&self, root: &Path, paths: &[PathBuf]) {
        let (LinkState::Good, Some((link, _))) = (self.look(root, paths), self.place(paths)) else { return };
        let Ok(opened) = System.open_root(root) else { return };
        if let Err(error) = System.remove(opened.as_fd(), link) {
            tracing::warn!(%error, link = ?root.join(link), "a link of the torrent is left behind");
            return;
        }
        for folder in link.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            // One that is not empty stays, and so do those around it.
            if System.remove_folder(opened.as_fd(), folder).is_err() {
                break;
            }
        }
    }
}

/// Makes the links that are not there; those that can't be made.
pub(crate) fn make(root: &Path, paths: &[PathBuf], links: &[TorrentLink]) -> Vec<LinkLeftOut> {
    let failed = |link: &TorrentLink| {
        let reason = link.make(root, paths).err()?;
        Some(LinkLeftOut { path: paths.get(link.file)?.clone(), reason })
    };
    links.iter().filter_map(failed).collect()
}

/// Removes the links of a torrent whose files have these paths below `root`, and the folders that are empty then; what is
/// no such link stays.
pub fn remove_links(root: &Path, paths: &[PathBuf], links: &[TorrentLink]) {
    for link in links {
        link.remove(root, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_text_of_a_link_leads_from_its_folder_to_the_target_and_never_out() {
        let text = |link: &str, target: &str, above: usize| {
            let paths = paths(&[link, target]);
            TorrentLink { file: 0, target: 1, above }.place(&paths).map(|(_, text)| text)
        };
        let some = |text: &str| Some(PathBuf::from(text));
        assert_eq!(text("t/now", "t/A/run", 1), some("A"));
        assert_eq!(text("t/a/b/l", "t/a/c/f", 0), some("../c/f"));
        assert_eq!(text("t/a/l", "t/f", 0), some("../f"));
        for (link, target, above) in [
            ("t/a/l", "t/a/f", 1),
            ("t/l", "t/f", 1),
            ("t/l", "t/f", 2),
            ("../l", "t/f", 0),
            ("t/l", "/f", 0),
        ] {
            assert_eq!(text(link, target, above), None, "{link} -> {target} {above}");
        }
    }

    #[test]
    fn links_are_made_in_no_place_of_anything_and_removed_if_they_are_ours() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let paths = paths(&["t/now", "t/A/run", "t/gone", "t/x/deep", "t/there", "t/y/l", "t/new/run"]);
        std::fs::create_dir_all(at("t/A")).unwrap();
        std::fs::create_dir_all(at("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", at("t/y")).unwrap();
        std::fs::write(at("t/A/run"), "x").unwrap();
        std::fs::write(at("t/there"), "theirs").unwrap();
        let link = |file, target, above| TorrentLink { file, target, above };
        let links = [link(0, 1, 1), link(3, 2, 0), link(4, 1, 0), link(5, 1, 0), link(6, 1, 0)];
        let left_out: Vec<PathBuf> =
            make(root.path(), &paths, &links).into_iter().map(|left| left.path).collect();
        assert_eq!(left_out, ["t/x/deep", "t/there", "t/y/l"].map(PathBuf::from));
        assert_eq!(std::fs::read_link(at("t/now")).unwrap(), Path::new("A"));
        assert!(at("t/now/run").is_file() && at("t/new/run").is_file());
        assert_eq!(std::fs::read(at("t/there")).unwrap(), b"theirs");
        assert_eq!(std::fs::read_dir(at("elsewhere")).unwrap().count(), 0);
        let states: Vec<LinkState> = links.iter().map(|link| link.look(root.path(), &paths)).collect();
        let expected =
            [LinkState::Good, LinkState::Missing, LinkState::NotALink, LinkState::Missing, LinkState::Good];
        assert_eq!(states, expected);
        std::fs::remove_file(at("t/now")).unwrap();
        std::os::unix::fs::symlink("A/run", at("t/now")).unwrap();
        remove_links(root.path(), &paths, &links);
        assert_eq!(links[0].look(root.path(), &paths), LinkState::Elsewhere("A/run".into()));
        std::fs::remove_file(at("t/now")).unwrap();
        make(root.path(), &paths, &links);
        remove_links(root.path(), &paths, &links);
        assert!(at("t/now").symlink_metadata().is_err() && at("t/there").exists());
        assert!(!at("t/new").exists(), "an empty folder is left");
    }
}
