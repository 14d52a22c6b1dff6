//! What is transferred: pseudo-random files that grow from a seed, and their SHA-256.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use sha2::{Digest, Sha256};

const KIB: usize = 1024;

/// The shape of a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One file of about 4 MiB, version 1.
    Small,
    /// One file of about 64 MiB, version 1.
    Single,
    /// One file of about 1 GiB, version 1.
    Large,
    /// 5,000 small files in folders, some of them empty, version 1.
    Many,
    /// A few files of odd lengths with BEP 47's padding between them, version 1.
    Padded,
    /// The same files with versions 1 and 2 in one torrent.
    Hybrid,
}

impl Layout {
    /// The name of its file or of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small.bin",
            Self::Single => "single.bin",
            Self::Large => "large.bin",
            Self::Many => "many",
            Self::Padded => "padded",
            Self::Hybrid => "hybrid",
        }
    }

    /// The length of its pieces, in bytes.
    pub fn piece_length(self) -> usize {
        match self {
            Self::Single => 256 * KIB,
            Self::Large => 1024 * KIB,
            Self::Small | Self::Many | Self::Padded | Self::Hybrid => 64 * KIB,
        }
    }

    /// The paths of its files below the download folder, and their lengths in bytes.
    fn files(self, rng: &mut Rng) -> Vec<(PathBuf, usize)> {
        let root = Path::new(self.name());
        match self {
            Self::Small => vec![(root.to_owned(), 4 * 1024 * KIB - 4_321)],
            Self::Single => vec![(root.to_owned(), 64 * 1024 * KIB - 12_345)],
            Self::Large => vec![(root.to_owned(), 1024 * 1024 * KIB - 54_321)],
            Self::Many => (0..5_000)
                .map(|number| {
                    let length = if number % 500 == 7 { 0 } else { rng.usize(1..16 * KIB) };
                    (root.join(format!("folder {:02}/ä file {number:04}.dat", number % 50)), length)
                })
                .collect(),
            Self::Padded | Self::Hybrid => [
                ("a.bin", 5 * 1024 * KIB + 1),
                ("b/short.txt", 17),
                ("b/whole pieces.bin", 2 * 1024 * KIB),
                ("b/whole block.bin", 16 * KIB),
                ("c/d/long.bin", 9 * 1024 * KIB + 70_001),
                ("c/d/one less.bin", 64 * KIB - 1),
                ("e.bin", 3 * 1024 * KIB + 333),
            ]
            .map(|(path, length)| (root.join(path), length))
            .to_vec(),
        }
    }
}

/// Files with known content.
pub struct Payload {
    layout: Layout,
    seed: u64,
    digests: BTreeMap<PathBuf, [u8; 32]>,
}

/// Which files of a payload have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Every file.
    All,
    /// Every file with at least one byte.
    WithBytes,
}

impl Payload {
    /// The payload of this shape that grows from `seed`, written into `folder`.
    pub fn write(layout: Layout, seed: u64, folder: &Path) -> Result<Self> {
        let mut payload = Self { layout, seed, digests: BTreeMap::new() };
        payload.digests = payload.place(folder)?;
        Ok(payload)
    }

    /// Its shape.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The bytes of all its files.
    pub fn length(&self) -> usize {
        self.layout.files(&mut Rng::with_seed(self.seed)).iter().map(|(_, length)| length).sum()
    }

    /// Writes it once more, into `folder`.
    pub fn copy_to(&self, folder: &Path) -> Result<()> {
        self.place(folder).map(|_| ())
    }

    fn place(&self, folder: &Path) -> Result<BTreeMap<PathBuf, [u8; 32]>> {
        let mut rng = Rng::with_seed(self.seed);
        let mut digests = BTreeMap::new();
        for (path, length) in self.layout.files(&mut rng) {
            let digest = grow(&mut rng, length, &folder.join(&path))?;
            digests.insert(path, digest);
        }
        Ok(digests)
    }

    /// Puts its files from folder `from` into folder `to` as links, for clients that only read them.
    pub fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.digests.keys().try_for_each(|path| {
            let link = to.join(path);
            write(&link, b"").and_then(|()| Ok(fs::remove_file(&link)?))?;
            fs::hard_link(from.join(path), &link).with_context(|| format!("cannot link {}", link.display()))
        })
    }

    /// Every wanted file is in `folder` with every byte; what else lies there does not matter.
    pub fn check(&self, folder: &Path, wanted: Wanted) -> Result<()> {
        let empty = <[u8; 32]>::from(Sha256::digest(b""));
        let mut wrong = Vec::new();
        for (path, digest) in &self.digests {
            if wanted == Wanted::WithBytes && *digest == empty {
                continue;
            }
            match digest_of(&folder.join(path)) {
                Ok(found) if found == *digest => {}
                Ok(_) => wrong.push(format!("{}: other bytes", path.display())),
                Err(error) => wrong.push(format!("{}: {error:#}", path.display())),
            }
        }
        let (count, all) = (wrong.len(), self.digests.len());
        wrong.truncate(10);
        ensure!(count == 0, "{count} of {all} files differ:\n{}", wrong.join("\n"));
        Ok(())
    }

    /// As [`Self::check`], and nothing else lies in `folder`: no padding, no part files, no state.
    pub fn check_alone(&self, folder: &Path) -> Result<()> {
        self.check(folder, Wanted::All)?;
        let found = files_below(folder)?;
        let strange: Vec<_> =
            found.iter().filter(|path| !self.digests.contains_key(*path)).take(10).collect();
        ensure!(strange.is_empty(), "files that are not of the torrent: {strange:?}");
        Ok(())
    }
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file of `length` random bytes and gives its SHA-256.
fn grow(rng: &mut Rng, length: usize, path: &Path) -> Result<[u8; 32]> {
    write(path, b"")?;
    let mut file = fs::File::options().append(true).open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; length.min(1024 * KIB)];
    let mut left = length;
    while left > 0 {
        chunk.truncate(left);
        rng.fill(&mut chunk);
        hash.update(&chunk);
        file.write_all(&chunk).with_context(|| format!("cannot write {}", path.display()))?;
        left -= chunk.len();
    }
    Ok(hash.finalize().into())
}

fn digest_of(path: &Path) -> Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * KIB];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if let Ok(below) = path.strip_prefix(folder) {
                files.insert(below.to_owned());
            } else {
                bail!("{} is not below {}", path.display(), folder.display());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let payload = Payload::write(Layout::Hybrid, 1, folder.path()).unwrap();
        payload.check_alone(folder.path()).unwrap();
        let path = folder.path().join("hybrid/c/d/long.bin");
        let mut content = fs::read(&path).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(&path, content).unwrap();
        let error = payload.check(folder.path(), Wanted::All).unwrap_err().to_string();
        assert!(error.contains("long.bin: other bytes"), "{error}");
    }

    #[test]
    fn a_missing_file_and_a_strange_one_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let payload = Payload::write(Layout::Hybrid, 2, folder.path()).unwrap();
        fs::write(folder.path().join("hybrid/left over.part"), b"").unwrap();
        payload.check(folder.path(), Wanted::All).unwrap();
        assert!(payload.check_alone(folder.path()).unwrap_err().to_string().contains("left over.part"));
        fs::remove_file(folder.path().join("hybrid/a.bin")).unwrap();
        assert!(payload.check(folder.path(), Wanted::All).unwrap_err().to_string().contains("a.bin"));
    }

    #[test]
    fn a_seed_gives_the_same_files_each_time() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let payload = Payload::write(Layout::Many, 3, folders[0].path()).unwrap();
        payload.copy_to(folders[1].path()).unwrap();
        payload.check_alone(folders[1].path()).unwrap();
        assert_eq!(files_below(folders[1].path()).unwrap().len(), 5_000);
    }
}
