//! Which names a torrent's files have on the disk: those that the author gave them, or cleaned ones.
//!
//! The names of a torrent are cleaned so that every system takes them ([`quelea_metainfo::path`]). Other programs, and
//! ours if it is told so ([`NameStyle::Native`]), write them as they are where the system takes that. So files that
//! are there already are looked for under each name that they may have, the author's own first; files that are not
//! there go beside them, and where there are none the style decides. What was chosen is remembered with the torrent
//! (`quelea_resume`), whatever is chosen later.

use crate::wishes::file_specs;
use quelea_metainfo::{Info, NativePath};
use quelea_resume::Names;
use quelea_storage::FileSpec;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How files are called that are not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum NameStyle {
    /// By names that every system takes.
    #[default]
    Portable,
    /// By the names that the torrent's author gave them, as far as this system takes them.
    Native,
}

/// A way to name a file: cleaned, as its author did, or by the alias with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Way {
    Native,
    Alias(usize),
    Portable,
}

/// The names that a torrent's files may have.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    style: NameStyle,
    /// The files that may have several, by number.
    files: BTreeMap<usize, Vec<(Way, PathBuf)>>,
}

impl Naming {
    pub(crate) fn new(info: &Info, style: NameStyle) -> Self {
        let path = |path: &NativePath| PathBuf::from(OsStr::from_bytes(path.as_bytes()));
        let ways = |file: &quelea_metainfo::File| {
            let native = file.native.iter().map(|native| (Way::Native, path(native)));
            let aliases = file.aliases.iter().enumerate().map(|(at, alias)| (Way::Alias(at), path(alias)));
            let portable = (Way::Portable, file.path.elements().collect());
            native.chain(aliases).chain([portable]).collect()
        };
        let numbered = info.files.iter().enumerate().filter(|(_, file)| !file.pad && file.has_other_names());
        Self { style, files: numbered.map(|(number, file)| (number, ways(file))).collect() }
    }

    /// Whether a file is there, by any of its names, with any bytes in it.
    pub(crate) fn has_data(&self, root: &Path, files: &[FileSpec]) -> bool {
        let has_data = |path: &Path| root.join(path).symlink_metadata().is_ok_and(|found| found.len() > 0);
        let mut real = files.iter().enumerate().filter(|(_, file)| !file.pad);
        real.any(|(number, file)| match self.files.get(&number) {
            Some(ways) => ways.iter().any(|(_, path)| has_data(path)),
            None => has_data(&file.path),
        })
    }

    /// The paths of all files that may have several names, where `known` does not say them: `files` are those of the
    /// torrent with their cleaned paths.
    pub(crate) fn choose(&self, root: &Path, files: &[FileSpec], known: &Names) -> Names {
        let open: BTreeMap<usize, &[(Way, PathBuf)]> = self
            .files
            .iter()
            .filter(|(number, _)| !known.contains_key(number))
            .map(|(number, ways)| (*number, &**ways))
            .collect();
        if open.is_empty() {
            return known.clone();
        }
        let mut found: HashMap<usize, Way> = HashMap::new();
        let mut counts: BTreeMap<Way, usize> = BTreeMap::new();
        for (&number, ways) in &open {
            let is_there = |(_, path): &&(Way, PathBuf)| root.join(path).symlink_metadata().is_ok();
            if let Some((way, _)) = ways.iter().find(is_there) {
                found.insert(number, *way);
                *counts.entry(*way).or_default() += 1;
            }
        }
        let most = counts.iter().max_by_key(|(way, count)| (**count, std::cmp::Reverse(**way)));
        let usual = most.map_or(
            match self.style {
                NameStyle::Portable => Way::Portable,
                NameStyle::Native => Way::Native,
            },
            |(way, _)| *way,
        );
        // Each as it is found; else all in the way that most are; else cleaned, which is always possible.
        let mixed = |number: usize| found.get(&number).copied().unwrap_or(usual);
        let choices: [&dyn Fn(usize) -> Way; 3] = [&mixed, &|_| usual, &|_| Way::Portable];
        for choice in choices {
            let mut names = known.clone();
            for (&number, ways) in &open {
                let way = choice(number);
                let chosen = ways.iter().find(|(other, _)| *other == way).or(ways.last());
                names.extend(chosen.map(|(_, path)| (number, path.clone())));
            }
            if fit(root, files, &names, self.style) {
                return names;
            }
        }
        known.clone()
    }
}

/// The paths at which a torrent's files are found in a directory, or would be written to by cleaned names.
pub(crate) fn found_paths(info: &Info, root: &Path) -> Vec<PathBuf> {
    let files = file_specs(info);
    let names = Naming::new(info, NameStyle::Portable).choose(root, &files, &Names::new());
    let named = |(number, file): (usize, FileSpec)| names.get(&number).cloned().unwrap_or(file.path);
    files.into_iter().enumerate().map(named).collect()
}

/// The file or folder of a torrent in the directory `root`: by the names that its files have there, or will have.
pub fn content_path(info: &Info, root: &Path, style: NameStyle) -> PathBuf {
    let files = file_specs(info);
    let names = Naming::new(info, style).choose(root, &files, &Names::new());
    let first = files.iter().enumerate().find(|(_, file)| !file.pad);
    let path = first.map(|(number, file)| names.get(&number).unwrap_or(&file.path));
    let top = path.and_then(|path| path.components().next());
    root.join(top.map_or(Path::new(&info.name), |top| Path::new(top.as_os_str())))
}

/// Whether every file has a path of its own there, none of them in the place of a folder.
fn fit(root: &Path, files: &[FileSpec], names: &Names, style: NameStyle) -> bool {
    let real = files.iter().enumerate().filter(|(_, file)| !file.pad);
    let paths: Vec<&Path> =
        real.map(|(number, file)| names.get(&number).map_or(&*file.path, |path| &**path)).collect();
    let all: HashSet<&Path> = paths.iter().copied().collect();
    if all.len() < paths.len() || paths.iter().any(|path| path.ancestors().skip(1).any(|at| all.contains(at)))
    {
        return false;
    }
    // Names that differ by case alone are two files on some file systems and one on others.
    let mut folded: HashMap<String, &Path> = HashMap::new();
    let mut tells_apart = None;
    paths.iter().all(|path| match folded.insert(path.to_string_lossy().to_lowercase(), path) {
        None => true,
        Some(other) => match (fs::metadata(root.join(path)), fs::metadata(root.join(other))) {
            (Ok(one), Ok(other)) => (one.dev(), one.ino()) != (other.dev(), other.ino()),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => true,
            (Err(_), Err(_)) => {
                style == NameStyle::Native && *tells_apart.get_or_insert_with(|| tells_case_apart(root))
            }
        },
    })
}

/// Whether a directory, or the one around it if it is not there, tells names apart that differ by case alone.
fn tells_case_apart(root: &Path) -> bool {
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let Some(folder) = root.ancestors().find(|at| at.is_dir()) else { return false };
    let name = format!(".quelea-case-{}", std::process::id());
    let (lower, upper) = (folder.join(&name), folder.join(name.to_uppercase()));
    if File::create_new(&lower).is_err() {
        return false;
    }
    let apart = upper.symlink_metadata().is_err();
    // If it stays it is empty, and says by its name whose it was.
    let _ = fs::remove_file(&lower);
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use quelea_metainfo::Metainfo;

    fn torrent(name: &[u8], paths: &[&[&[u8]]], outside: &[u8]) -> Info {
        let string = |bytes: &[u8]| [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
        let mut files = Vec::new();
        for path in paths {
            let elements: Vec<u8> = path.iter().flat_map(|element| string(element)).collect();
            files.extend([b"d6:lengthi1e4:pathl".as_slice(), &elements, b"ee"].concat());
        }
        let info = [
            b"d5:filesl".as_slice(),
            &files,
            b"e4:name",
            &string(name),
            b"12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxxe",
        ];
        let torrent = [b"d", outside, b"4:info", &info.concat(), b"e"].concat();
        Metainfo::parse(&torrent).unwrap().info
    }

    fn chosen(info: &Info, root: &Path, style: NameStyle) -> Vec<PathBuf> {
        let files = file_specs(info);
        let names = Naming::new(info, style).choose(root, &files, &Names::new());
        (0..files.len()).map(|number| names.get(&number).unwrap_or(&files[number].path).clone()).collect()
    }

    fn put(root: &Path, path: impl AsRef<Path>) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    fn windows() -> Info {
        torrent(b"Who? What", &[&[b"Mission: Possible?"], &[b"Vol. 1.", b"a"], &[b"plain"]], b"")
    }

    const NATIVE: [&str; 3] = ["Who? What/Mission: Possible?", "Who? What/Vol. 1./a", "Who? What/plain"];
    const PORTABLE: [&str; 3] = ["Who_ What/Mission_ Possible_", "Who_ What/Vol. 1/a", "Who_ What/plain"];

    #[test]
    fn new_files_are_named_by_the_style() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(chosen(&windows(), root.path(), NameStyle::Portable), PORTABLE.map(PathBuf::from));
        assert_eq!(chosen(&windows(), root.path(), NameStyle::Native), NATIVE.map(PathBuf::from));
    }

    #[test]
    fn files_that_are_there_keep_their_names_and_others_go_beside_them() {
        for (there, style) in [(NATIVE, NameStyle::Portable), (PORTABLE, NameStyle::Native)] {
            for number in 0..3 {
                let root = tempfile::tempdir().unwrap();
                put(root.path(), there[number]);
                assert_eq!(chosen(&windows(), root.path(), style), there.map(PathBuf::from));
                let naming = Naming::new(&windows(), NameStyle::Portable);
                assert!(naming.has_data(root.path(), &file_specs(&windows())));
            }
        }
    }

    #[test]
    fn the_authors_own_name_is_taken_where_both_are_there() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), NATIVE[0]);
        put(root.path(), PORTABLE[0]);
        assert_eq!(chosen(&windows(), root.path(), NameStyle::Portable)[0], Path::new(NATIVE[0]));
    }

    #[test]
    fn what_is_known_stays_whatever_is_there() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), NATIVE[0]);
        let info = windows();
        let known: Names = PORTABLE.map(PathBuf::from).into_iter().enumerate().collect();
        let naming = Naming::new(&info, NameStyle::Native);
        assert_eq!(naming.choose(root.path(), &file_specs(&info), &known), known);
    }

    #[test]
    fn two_files_never_get_one_path() {
        // The second's own name is the first's cleaned one.
        let info = torrent(b"t", &[&[b"a?"], &[b"a_"]], b"");
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "t/a_");
        let paths = chosen(&info, root.path(), NameStyle::Portable);
        assert_ne!(paths[0], paths[1]);
    }

    #[test]
    fn case_alone_tells_files_apart_where_the_file_system_does() {
        let info = torrent(b"t", &[&[b"README"], &[b"readme"]], b"");
        let root = tempfile::tempdir().unwrap();
        assert_eq!(chosen(&info, root.path(), NameStyle::Portable)[1], Path::new("t/readme (2)"));
        if tells_case_apart(root.path()) {
            assert_eq!(chosen(&info, root.path(), NameStyle::Native)[1], Path::new("t/readme"));
        }
        // As if it were one file under both names.
        put(root.path(), "t/README");
        fs::hard_link(root.path().join("t/README"), root.path().join("t/readme")).unwrap();
        assert_eq!(chosen(&info, root.path(), NameStyle::Portable)[1], Path::new("t/readme (2)"));
        fs::remove_file(root.path().join("t/readme")).unwrap();
        put(root.path(), "t/readme");
        assert_eq!(chosen(&info, root.path(), NameStyle::Portable)[1], Path::new("t/readme"));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn names_in_another_encoding_are_found_decoded_to_the_byte_and_as_others_clean_them() {
        let (folder, file) = (b"\xb2\xe2\xca\xd4".as_slice(), b"\xd6\xd0\xce\xc4.txt".as_slice());
        let info = torrent(folder, &[&[file]], b"8:encoding3:GBK");
        let bytes = [folder, b"/", file].concat();
        let raw = Path::new(OsStr::from_bytes(&bytes));
        let root = tempfile::tempdir().unwrap();
        assert_eq!(chosen(&info, root.path(), NameStyle::Portable), [Path::new("测试/中文.txt")]);
        for path in [raw, Path::new("____/____.txt")] {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), path);
            assert_eq!(chosen(&info, root.path(), NameStyle::Portable), [path]);
        }
        // Nobody says which encoding it is.
        let unknown = torrent(folder, &[&[file]], b"");
        assert_eq!(chosen(&unknown, root.path(), NameStyle::Native), [raw]);
        put(root.path(), raw);
        assert_eq!(chosen(&unknown, root.path(), NameStyle::Portable), [raw]);
    }
}
