//! Telling files apart: every file of a torrent gets a path of its own, and every link a target inside.
//!
//! Two names are the same here when any common file system takes them for the same: whatever their case, and
//! however their accents are composed (APFS, NTFS). Folders keep their names, since other files live in them; a
//! file that meets a folder or an earlier file is renamed to `name (2).txt`. Files that have a name to themselves
//! never lose it to a renamed one.
//!
//! Links are resolved here once and for all: a target is a real file or folder of the same torrent, or nothing.

use crate::file_list::Entry;
use crate::info::Link;
use crate::path::{self, MAX_ELEMENTS, MAX_PATH_LENGTH, NativePath, SafePath, clean_element, push_element};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use unicode_normalization::UnicodeNormalization;

/// How many links may stand one behind the other.
const MAX_HOPS: u32 = 16;

/// The number of a folder; the torrent's own is [`ROOT`].
type Folder = u32;
const ROOT: Folder = 0;

/// What the torrent has under a name: a folder, or the file with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder(Folder),
    File(usize),
}

/// Where a file stands: its folder and its name there, both clean.
struct Place {
    folder: Folder,
    name: String,
}

/// What has been found out about a link.
#[derive(Clone, Copy)]
enum Resolution {
    Unknown,
    /// Met again in this state, a link leads to itself.
    UnderWay,
    Known(Option<Node>),
}

/// The paths of `entries` in the folder `root`, and what those that are links lead to.
pub(crate) fn place(root: &str, entries: &[Entry<'_>]) -> Vec<(SafePath, Option<Link>)> {
    let mut tree = Tree { root, nodes: BTreeMap::new(), parents: vec![(ROOT, Box::default())] };
    let mut places: Vec<Option<Place>> = entries.iter().map(|entry| tree.place_of(entry)).collect();
    let losers = tree.take_names(&places);
    tree.rename(&mut places, &losers);
    let mut links =
        Links { tree: &tree, entries, places: &places, known: vec![Resolution::Unknown; entries.len()] };
    let targets: Vec<Option<Link>> = (0..entries.len()).map(|number| links.target(number)).collect();
    entries
        .iter()
        .zip(&places)
        .zip(targets)
        .map(|((entry, place), link)| match place {
            Some(place) => (tree.path(place), link),
            None => (tree.pad_path(entry.length), None),
        })
        .collect()
}

/// The paths of `entries` in the folder `root` with the names that they have there, to the byte. `None` for pad files
/// and for names that no file system takes, that another file has too, or that are those of folders.
pub(crate) fn native(root: &[u8], entries: &[Entry<'_>]) -> Vec<Option<NativePath>> {
    let path = |entry: &Entry<'_>| {
        let elements = core::iter::once(root).chain(entry.elements.iter().copied());
        NativePath::new(elements).filter(|_| !entry.pad && !entry.elements.is_empty())
    };
    let mut paths: Vec<Option<NativePath>> = entries.iter().map(path).collect();
    let mut numbers: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut clashes: Vec<usize> = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let Some(path) = path else { continue };
        if let Some(other) = numbers.insert(path.as_bytes(), number) {
            clashes.extend([number, other]);
        }
    }
    for path in paths.iter().flatten() {
        let path = path.as_bytes();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        clashes.extend(ends.filter_map(|at| numbers.get(path.get(..at)?).copied()));
    }
    for number in clashes {
        if let Some(path) = paths.get_mut(number) {
            *path = None;
        }
    }
    paths
}

/// The folders of a torrent, and who has which name in them.
struct Tree<'r> {
    root: &'r str,
    /// By folder and folded name.
    nodes: BTreeMap<(Folder, String), Node>,
    /// The folder around each folder, and its name there.
    parents: Vec<(Folder, Box<str>)>,
}

impl Tree<'_> {
    /// Where `entry` wants to stand; its folders are made. `None` for pad files, which are never written.
    fn place_of(&mut self, entry: &Entry<'_>) -> Option<Place> {
        if entry.pad {
            return None;
        }
        let (last, folders) = entry.elements.split_last()?;
        let name = clean_element(last).unwrap_or_else(|| "_".into());
        let mut folder = ROOT;
        let mut depth = 2;
        let mut length = self.root.len() + 1 + name.len();
        for element in folders.iter().filter_map(|element| clean_element(element)) {
            depth += 1;
            length += element.len() + 1;
            if depth > MAX_ELEMENTS || length > MAX_PATH_LENGTH {
                break;
            }
            folder = self.folder(folder, &element);
        }
        Some(Place { folder, name })
    }

    /// The folder of this name in `parent`. Only called while no file has a name yet.
    fn folder(&mut self, parent: Folder, name: &str) -> Folder {
        let next = Folder::try_from(self.parents.len()).unwrap_or(Folder::MAX);
        match self.nodes.entry((parent, fold(name))) {
            btree_map::Entry::Occupied(found) => match found.get() {
                Node::Folder(folder) => *folder,
                Node::File(_) => parent,
            },
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Node::Folder(next));
                self.parents.push((parent, name.into()));
                next
            }
        }
    }

    /// Gives each name to the first file that wants it; returns the files that came too late.
    fn take_names(&mut self, places: &[Option<Place>]) -> Vec<usize> {
        let mut losers = Vec::new();
        for (number, place) in places.iter().enumerate() {
            let Some(place) = place else { continue };
            match self.nodes.entry((place.folder, fold(&place.name))) {
                btree_map::Entry::Vacant(vacant) => _ = vacant.insert(Node::File(number)),
                btree_map::Entry::Occupied(_) => losers.push(number),
            }
        }
        losers
    }

    /// Gives the losers names with numbers that nobody has.
    fn rename(&mut self, places: &mut [Option<Place>], losers: &[usize]) {
        // Remembering the last number for each name keeps a thousand files of one name from a million look-ups.
        let mut numbers: BTreeMap<(Folder, String), u64> = BTreeMap::new();
        for &loser in losers {
            let Some(Some(place)) = places.get_mut(loser) else { continue };
            let (stem, extension) = path::number_place(&place.name);
            let (stem, extension) = (fold(stem), fold(extension));
            let number = numbers.entry((place.folder, [&stem, "\0", &extension].concat())).or_insert(1);
            loop {
                *number += 1;
                // The name folded: a space and a dot stand alone in every composition.
                let folded = alloc::format!("{stem} ({number}){extension}");
                if let btree_map::Entry::Vacant(vacant) = self.nodes.entry((place.folder, folded)) {
                    vacant.insert(Node::File(loser));
                    place.name = path::numbered(&place.name, *number);
                    break;
                }
            }
        }
    }

    fn path(&self, place: &Place) -> SafePath {
        let mut path = self.folder_path(place.folder);
        push_element(&mut path, &place.name);
        SafePath::from_clean(path)
    }

    fn folder_path(&self, folder: Folder) -> String {
        let mut names: Vec<&str> = self.ancestry(folder).map(|(_, name)| name).collect();
        names.push(self.root);
        names.reverse();
        names.join("/")
    }

    /// The folder and all around it but the root, from the inside to the outside, with their names.
    fn ancestry(&self, folder: Folder) -> impl Iterator<Item = (Folder, &str)> {
        let mut at = folder;
        core::iter::from_fn(move || {
            let (parent, name) = self.parents.get(at as usize).filter(|_| at != ROOT)?;
            let found = at;
            at = *parent;
            Some((found, &**name))
        })
    }

    /// What a pad file is called in listings (BEP 47 proposes this name).
    fn pad_path(&self, length: u64) -> SafePath {
        SafePath::from_clean([self.root, ".pad", &length.to_string()].join("/"))
    }
}

/// Follows links, each once.
struct Links<'t> {
    tree: &'t Tree<'t>,
    entries: &'t [Entry<'t>],
    places: &'t [Option<Place>],
    known: Vec<Resolution>,
}

impl Links<'_> {
    /// What file `number` leads to, if it is a link.
    fn target(&mut self, number: usize) -> Option<Link> {
        self.entries.get(number)?.link.as_ref()?;
        let folder = self.places.get(number)?.as_ref()?.folder;
        Some(match self.resolve(number, MAX_HOPS) {
            // A link to a folder around it would make a tree without end.
            Some(Node::Folder(target))
                if target == ROOT || self.tree.ancestry(folder).any(|(at, _)| at == target) =>
            {
                Link::Nowhere
            }
            Some(Node::Folder(target)) => Link::To(SafePath::from_clean(self.tree.folder_path(target))),
            Some(Node::File(file)) => match self.places.get(file) {
                Some(Some(place)) => Link::To(self.tree.path(place)),
                Some(None) | None => Link::Nowhere,
            },
            None => Link::Nowhere,
        })
    }

    fn resolve(&mut self, number: usize, hops: u32) -> Option<Node> {
        match self.known.get(number)? {
            Resolution::Known(node) => return *node,
            Resolution::UnderWay => return None,
            Resolution::Unknown => {}
        }
        let entries = self.entries;
        let elements = entries.get(number)?.link.as_ref()?;
        let folder = self.places.get(number)?.as_ref()?.folder;
        self.remember(number, Resolution::UnderWay);
        // BEP 47 counts from the torrent's folder; some authors count from the link's, as a file system would.
        let node = match hops.checked_sub(1) {
            Some(hops) if elements.len() <= MAX_ELEMENTS => {
                self.walk(ROOT, elements, hops).or_else(|| self.walk(folder, elements, hops))
            }
            Some(_) | None => None,
        };
        self.remember(number, Resolution::Known(node));
        node
    }

    fn remember(&mut self, number: usize, resolution: Resolution) {
        if let Some(known) = self.known.get_mut(number) {
            *known = resolution;
        }
    }

    fn walk(&mut self, from: Folder, elements: &[&[u8]], hops: u32) -> Option<Node> {
        let mut at = Node::Folder(from);
        for element in elements.iter().filter_map(|element| clean_element(element)) {
            let Node::Folder(folder) = at else { return None };
            at = *self.tree.nodes.get(&(folder, fold(&element)))?;
            if let Node::File(file) = at
                && self.entries.get(file)?.link.is_some()
            {
                at = self.resolve(file, hops)?;
            }
        }
        Some(at)
    }
}

/// What a file system that ignores case and composition compares. Code points that HFS+ ignores fall away.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let ignored = |c: &char| matches!(c, '\u{200c}' | '\u{200d}' | '\u{206a}'..='\u{206f}');
    // There and back through upper case, so that ẞ and ß meet ss, and ς meets σ.
    let lower = name.nfd().filter(|c| !ignored(c)).flat_map(char::to_lowercase);
    lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn entry<'a>(path: &'a str, link: Option<&'a str>) -> Entry<'a> {
        let split = |path: &'a str| path.split('/').map(str::as_bytes).collect();
        Entry { elements: split(path), link: link.map(split), ..Entry::default() }
    }

    fn paths(wanted: &[&str]) -> Vec<String> {
        let entries: Vec<Entry<'_>> = wanted.iter().map(|path| entry(path, None)).collect();
        place("t", &entries).into_iter().map(|(path, _)| path.to_string()).collect()
    }

    fn links(wanted: &[(&str, Option<&str>)]) -> Vec<Option<String>> {
        let entries: Vec<Entry<'_>> = wanted.iter().map(|(path, link)| entry(path, *link)).collect();
        let placed = place("t", &entries).into_iter();
        placed
            .filter_map(|(_, link)| link)
            .map(|link| match link {
                Link::To(path) => Some(path.to_string()),
                Link::Nowhere => None,
            })
            .collect()
    }

    #[test]
    fn native_paths_are_the_authors_own_where_each_file_can_have_one() {
        let native = |wanted: &[&'static str]| -> Vec<Option<String>> {
            let entries: Vec<Entry<'_>> = wanted.iter().map(|path| entry(path, None)).collect();
            let text = |path: NativePath| String::from_utf8(path.as_bytes().to_vec()).unwrap();
            super::native(b"t?", &entries).into_iter().map(|path| path.map(text)).collect()
        };
        let some = |path: &str| Some(path.to_string());
        assert_eq!(native(&["a:b", "A:b", "con"]), [some("t?/a:b"), some("t?/A:b"), some("t?/con")]);
        assert_eq!(native(&["a", "a", "b"]), [None, None, some("t?/b")]);
        assert_eq!(native(&["a", "a/b", "a/c/d"]), [None, some("t?/a/b"), some("t?/a/c/d")]);
        assert_eq!(native(&["../a", "x//y", "./z"]), [None, None, None]);
    }

    #[test]
    fn different_names_stay() {
        assert_eq!(paths(&["a", "b/a", "b/c.txt"]), ["t/a", "t/b/a", "t/b/c.txt"]);
    }

    #[test]
    fn the_second_of_a_name_gets_a_number() {
        assert_eq!(paths(&["a.txt", "a.txt", "a.txt"]), ["t/a.txt", "t/a (2).txt", "t/a (3).txt"]);
        assert_eq!(paths(&["A.txt", "a.TXT"]), ["t/A.txt", "t/a (2).TXT"]);
        assert_eq!(paths(&["caf\u{e9}", "cafe\u{301}"]), ["t/caf\u{e9}", "t/cafe\u{301} (2)"]);
        assert_eq!(paths(&["straße", "STRASSE"]), ["t/straße", "t/STRASSE (2)"]);
        assert_eq!(paths(&["a:b", "a_b", "a?b"]), ["t/a_b", "t/a_b (2)", "t/a_b (3)"]);
    }

    #[test]
    fn case_does_not_matter_for_any_letter() {
        for c in '\0'..=char::MAX {
            let (lower, upper): (String, String) = (c.to_lowercase().collect(), c.to_uppercase().collect());
            if lower == upper {
                continue;
            }
            let folded = fold(&c.to_string());
            assert_eq!(fold(&lower), folded, "{c:?}");
            assert_eq!(fold(&upper), folded, "{c:?}");
        }
    }

    #[test]
    fn a_file_with_a_name_of_its_own_keeps_it() {
        assert_eq!(paths(&["a", "a", "a (2)"]), ["t/a", "t/a (3)", "t/a (2)"]);
    }

    #[test]
    fn a_file_gives_way_to_a_folder() {
        assert_eq!(paths(&["a", "A/b"]), ["t/a (2)", "t/A/b"]);
    }

    #[test]
    fn folders_too_many_fall_away() {
        let deep = "d/".repeat(5_000) + "leaf";
        let path = paths(&[&deep]).remove(0);
        assert_eq!(path.split('/').count(), MAX_ELEMENTS);
        assert!(path.ends_with("/leaf"));
        let long = ("x".repeat(250) + "/").repeat(30) + "leaf";
        let path = paths(&[&long]).remove(0);
        assert!(path.len() <= MAX_PATH_LENGTH && path.ends_with("x/leaf"));
    }

    #[test]
    fn many_files_of_one_name_are_told_apart_in_time() {
        let long = "n".repeat(255);
        let wanted: Vec<String> = (0..20_000).map(|number| std::format!("{long}{}", number % 2)).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let found: BTreeSet<String> = paths(&wanted).into_iter().collect();
        assert_eq!(found.len(), wanted.len());
    }

    #[test]
    fn a_link_leads_to_a_file_or_folder_of_the_torrent() {
        assert_eq!(links(&[("a/b", None), ("l", Some("a/b"))]), [Some("t/a/b".into())]);
        assert_eq!(links(&[("a/b", None), ("l", Some("a"))]), [Some("t/a".into())]);
        assert_eq!(
            links(&[("Versions/A/x", None), ("Versions/Current", Some("A"))]),
            [Some("t/Versions/A".into())]
        );
    }

    #[test]
    fn a_link_through_links_leads_to_the_end() {
        let wanted = [("v/A/x", None), ("v/now", Some("v/A")), ("x", Some("v/now/x")), ("y", Some("x"))];
        assert_eq!(links(&wanted), [Some("t/v/A".into()), Some("t/v/A/x".into()), Some("t/v/A/x".into())]);
    }

    #[test]
    fn a_link_out_in_a_circle_or_to_nothing_leads_nowhere() {
        for target in ["/etc/passwd", "../../etc", "..", "", "missing", "l", "k", "d/m", "d"] {
            let wanted = [("l", Some(target)), ("k", Some("l")), ("d/m", Some("d"))];
            let found = links(&wanted);
            assert_eq!(found.last(), Some(&None), "{target}");
            assert!(found.first() == Some(&None) || target.starts_with('d'), "{target}");
        }
        let chain: Vec<(String, String)> =
            (0..100_000).map(|n| (std::format!("{n}"), std::format!("{}", n + 1))).collect();
        let chain: Vec<(&str, Option<&str>)> =
            chain.iter().map(|(a, b)| (a.as_str(), Some(b.as_str()))).collect();
        assert!(links(&chain).iter().all(Option::is_none));
    }

    proptest! {
        #[test]
        fn numbering_and_folding_change_places(name in any::<String>(), number in 2u64..) {
            let name = clean_element(name.as_bytes()).unwrap_or("_".into());
            let (stem, extension) = path::number_place(&name);
            let folded = std::format!("{} ({number}){}", fold(stem), fold(extension));
            prop_assert_eq!(fold(&path::numbered(&name, number)), folded);
        }

        #[test]
        fn composition_does_not_matter(name in any::<String>()) {
            prop_assert_eq!(fold(&name), fold(&name.nfd().collect::<String>()));
            prop_assert_eq!(fold(&name), fold(&name.nfc().collect::<String>()));
        }

        #[test]
        fn no_two_files_meet(
            wanted in proptest::collection::vec(
                proptest::collection::vec("(a|A|b|é|e\u{301}|ss|ß|\\.\\.| |\\.|a \\(2\\)|con|x\\.y)", 1..4), 1..24
            )
        ) {
            let wanted: Vec<String> = wanted.iter().map(|elements| elements.join("/")).collect();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let found: Vec<String> = paths(&wanted).iter().map(|path| fold(path)).collect();
            let all: BTreeSet<&str> = found.iter().map(String::as_str).collect();
            prop_assert_eq!(all.len(), found.len());
            for path in &found {
                prop_assert!(path.starts_with("t/"));
                for (at, _) in path.match_indices('/') {
                    prop_assert!(!all.contains(&path[..at]), "{} is a file and a folder", &path[..at]);
                }
            }
        }
    }
}
