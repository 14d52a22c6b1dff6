//! Which files of a torrent are wanted, and how much: numbers, ranges and patterns.
//!
//! A choice that is a file's or folder's own name or path, to the letter, selects that, whatever else it could mean as a
//! pattern: `[Grp] Show - 01 [1080p].mkv`.
//!
//! Files are numbered from 1 in the torrent's order, pad files not counted, as `quelea show` prints them.

use crate::display;
use crate::exit::Status;
use globset::{GlobBuilder, GlobMatcher};
use quelea::Priority;
use std::fmt::Write;

/// Files that an error lists, at most.
const LISTED: usize = 30;

/// Which of the files at `paths` (from the torrent's folder, with `/` between) any of `choices` selects. `folder` is the
/// torrent's own, with which the paths that `show --json` prints begin.
///
/// # Errors
/// A choice that cannot be read, or selects nothing; the message lists what there is.
pub(crate) fn select(choices: &[String], folder: &str, paths: &[&str]) -> anyhow::Result<Vec<bool>> {
    let mut wanted = vec![false; paths.len()];
    for choice in choices {
        if is_literal(choice, folder, paths, &mut wanted) {
            continue;
        }
        let choice = choice.trim();
        if is_numeric(choice) {
            for part in choice.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let (first, last) = range(part, paths)?;
                wanted.iter_mut().take(last).skip(first - 1).for_each(|file| *file = true);
            }
        } else {
            let pattern = Pattern::new(choice)?;
            let mut found = false;
            for (file, path) in wanted.iter_mut().zip(paths) {
                if pattern.selects(path) {
                    *file = true;
                    found = true;
                }
            }
            if !found {
                return Err(usage(&format!("no file matches '{}'", display::clean(choice)), paths));
            }
        }
    }
    Ok(wanted)
}

/// Selects what is called `choice` to the letter: the file or folder of that path, with the torrent's own folder before it
/// or without, else every file and folder of that name. Whether there was any. A number is a file's number, except where
/// `./` says otherwise.
fn is_literal(choice: &str, folder: &str, paths: &[&str], wanted: &mut [bool]) -> bool {
    if choice.is_empty() || is_numeric(choice) {
        return false;
    }
    let below = |path: &str, whole: &str| {
        path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let trimmed = choice.strip_suffix('/').unwrap_or(choice);
    let inner = trimmed.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let mut selects = |matches: &dyn Fn(&str) -> bool| {
        let mut found = false;
        for (file, _) in wanted.iter_mut().zip(paths).filter(|(_, path)| matches(path)) {
            *file = true;
            found = true;
        }
        found
    };
    selects(&|path| below(path, trimmed))
        || inner.is_some_and(|inner| selects(&|path| below(path, inner)))
        || selects(&|path| path.split('/').any(|name| name == trimmed))
}

/// Whether a choice is made of file numbers.
fn is_numeric(choice: &str) -> bool {
    choice.contains(|c: char| c.is_ascii_digit())
        && choice.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-' | ' '))
}

/// How much each of the files at `paths` is wanted by `choices`, such as `1-5=7` or `*.txt=0`; the last that fits counts.
///
/// # Errors
/// A choice that cannot be read, or names no file; the message lists what there is.
pub(crate) fn prioritise(choices: &[String], folder: &str, paths: &[&str]) -> anyhow::Result<Vec<Priority>> {
    let mut priorities = vec![Priority::USUAL; paths.len()];
    for choice in choices {
        let (files, chosen) = with_priority(choice)?;
        let named = select(&[files.to_owned()], folder, paths)?;
        priorities
            .iter_mut()
            .zip(named)
            .filter(|(_, named)| *named)
            .for_each(|(priority, _)| *priority = chosen);
    }
    Ok(priorities)
}

/// Whether this is files and their priority, for the parser of the command line, which gives it back.
pub(crate) fn priority(choice: &str) -> anyhow::Result<String> {
    with_priority(choice).map(|_| choice.to_owned())
}

/// The files and the priority of `1-5=7`. A name may have an equals sign too, so the last one parts them.
fn with_priority(choice: &str) -> anyhow::Result<(&str, Priority)> {
    let parts = choice.rsplit_once('=').filter(|(files, _)| !files.trim().is_empty());
    let (files, number) = parts.ok_or_else(|| {
        let choice = display::clean(choice);
        Status::Usage.because(format!("'{choice}' is not files and their priority, like 1-5=7 or '*.txt=0'"))
    })?;
    let priority = number.trim().parse().ok().and_then(Priority::new).ok_or_else(|| {
        let number = display::clean(number);
        Status::Usage.because(format!("'{number}' is not a priority from 0 (not wanted) to 7 (first)"))
    })?;
    Ok((files, priority))
}

/// The first and last file number of `7`, `1-5` or `3-` (to the end): `1 <= first <= last <= paths.len()`.
fn range(part: &str, paths: &[&str]) -> anyhow::Result<(usize, usize)> {
    let unreadable = || Status::Usage.because(format!("'{part}' is not a file number or a range like 1-5"));
    let number = |text: &str| -> anyhow::Result<usize> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(unreadable());
        }
        match text.parse() {
            Ok(number) if (1..=paths.len()).contains(&number) => Ok(number),
            _ => Err(usage(&format!("there is no file {text}"), paths)),
        }
    };
    let (first, last) = match part.split_once('-') {
        None => (number(part)?, number(part)?),
        Some((first, "")) => (number(first)?, paths.len()),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last { Err(unreadable()) } else { Ok((first, last)) }
}

struct Pattern {
    matcher: GlobMatcher,
    /// Whether it is compared with whole paths; otherwise with the name of each file and folder.
    whole: bool,
}

impl Pattern {
    fn new(text: &str) -> anyhow::Result<Self> {
        let trimmed = text.strip_prefix("./").unwrap_or(text);
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        let glob = GlobBuilder::new(trimmed).literal_separator(true).build().map_err(|error| {
            Status::Usage.because(format!("'{}' is not a pattern: {}", display::clean(text), error.kind()))
        })?;
        Ok(Self {
            matcher: glob.compile_matcher(),
            whole: trimmed.contains('/') || trimmed.len() < text.trim_end_matches('/').len(),
        })
    }

    /// Whether it matches the file or a folder that the file is in.
    fn selects(&self, path: &str) -> bool {
        if self.whole {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            ends.into_iter().any(|end| path.get(..end).is_some_and(|part| self.matcher.is_match(part)))
        } else {
            path.split('/').any(|name| self.matcher.is_match(name))
        }
    }
}

fn usage(problem: &str, paths: &[&str]) -> anyhow::Error {
    let mut message = format!("{problem}; the torrent has {}:", display::count(paths.len(), "file", "files"));
    let width = paths.len().min(LISTED).to_string().len();
    for (index, path) in paths.iter().enumerate().take(LISTED) {
        let _ = write!(message, "\n  {:>width$}  {}", index + 1, display::cut(&display::clean(path), 100));
    }
    if paths.len() > LISTED {
        let _ = write!(message, "\n  and {} more, which `quelea show --all` lists", paths.len() - LISTED);
    }
    Status::Usage.because(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATHS: [&str; 6] = [
        "readme.txt",
        "cd1/01 one.flac",
        "cd1/02 two.flac",
        "cd1/cover.jpg",
        "cd2/01 three.flac",
        "cd2/x/y.txt",
    ];

    fn chosen(choices: &[&str]) -> Vec<usize> {
        let choices: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
        let wanted = select(&choices, "album", &PATHS).unwrap();
        wanted.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(index, _)| index + 1).collect()
    }

    fn refusal(choice: &str) -> String {
        select(&[choice.to_owned()], "album", &PATHS).unwrap_err().to_string()
    }

    #[test]
    fn numbers_and_ranges_select_files() {
        assert_eq!(chosen(&["2"]), [2]);
        assert_eq!(chosen(&["1-3,5"]), [1, 2, 3, 5]);
        assert_eq!(chosen(&["5-"]), [5, 6]);
        assert_eq!(chosen(&["6", " 1 , 2 "]), [1, 2, 6]);
    }

    #[test]
    fn a_pattern_without_a_slash_matches_any_name_on_the_way() {
        assert_eq!(chosen(&["*.txt"]), [1, 6]);
        assert_eq!(chosen(&["cd2"]), [5, 6]);
        assert_eq!(chosen(&["cd2/"]), [5, 6]);
        assert_eq!(chosen(&["0[12]*"]), [2, 3, 5]);
        assert_eq!(chosen(&["*"]), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_pattern_with_a_slash_matches_the_path_or_a_folder_on_it() {
        assert_eq!(chosen(&["cd1/*.flac"]), [2, 3]);
        assert_eq!(chosen(&["cd2/x"]), [6]);
        assert_eq!(chosen(&["**/*.flac"]), [2, 3, 5]);
        assert_eq!(chosen(&["./*.txt"]), [1]);
        assert_eq!(chosen(&["cd?/*.{jpg,txt}"]), [4]);
    }

    #[test]
    fn a_name_or_path_to_the_letter_is_no_pattern() {
        let paths = ["[Grp] Show - 01 [1080p].mkv", " lead.txt", "{a,b}/[x]", "{a,b}/y", "G", "album/z", "7"];
        let chosen = |choice: &str| -> Vec<usize> {
            let wanted = select(&[choice.to_owned()], "album", &paths).unwrap();
            (1..).zip(wanted).filter(|(_, wanted)| *wanted).map(|(number, _)| number).collect()
        };
        assert_eq!(chosen("[Grp] Show - 01 [1080p].mkv"), [1]);
        assert_eq!(chosen("album/[Grp] Show - 01 [1080p].mkv"), [1]);
        assert_eq!(chosen(" lead.txt"), [2]);
        assert_eq!(chosen("album/ lead.txt"), [2]);
        assert_eq!(chosen("[x]"), [3]);
        assert_eq!(chosen("{a,b}/"), [3, 4]);
        assert_eq!(chosen("album/{a,b}"), [3, 4]);
        // A folder within the torrent's wins over the torrent's own.
        assert_eq!(chosen("album/z"), [6]);
        // What is no name is a pattern, and a number is a file's number.
        assert_eq!(chosen("[FG]"), [5]);
        assert_eq!(chosen("7"), [7]);
        assert_eq!(chosen("1"), [1]);
        let named = prioritise(&["album/[Grp] Show - 01 [1080p].mkv=7".to_owned()], "album", &paths).unwrap();
        assert_eq!(named[0], Priority::HIGHEST);
    }

    #[test]
    fn what_selects_nothing_is_refused_with_a_list() {
        assert!(refusal("7").starts_with("there is no file 7; the torrent has 6 files:\n  1  readme.txt\n"));
        assert!(refusal("0").starts_with("there is no file 0;"));
        assert!(refusal("1-99999999999999999999").starts_with("there is no file 99999999999999999999;"));
        assert!(refusal("*.mkv").starts_with("no file matches '*.mkv'; the torrent has 6 files:"));
        assert_eq!(refusal("3-1"), "'3-1' is not a file number or a range like 1-5");
        assert_eq!(refusal("-3"), "'-3' is not a file number or a range like 1-5");
        assert_eq!(
            refusal("1-2-3"),
            "'2-3' is not a file number or a range like 1-5".replace("2-3", "1-2-3")
        );
        assert!(refusal("[a").starts_with("'[a' is not a pattern: "));
    }

    fn priorities(choices: &[&str]) -> Vec<u8> {
        let choices: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
        prioritise(&choices, "album", &PATHS).unwrap().into_iter().map(Priority::get).collect()
    }

    #[test]
    fn the_last_priority_that_fits_a_file_counts_and_others_have_the_default() {
        assert_eq!(priorities(&["2-3=7"]), [4, 7, 7, 4, 4, 4]);
        assert_eq!(priorities(&["*=1", "*.flac=6", " 5 = 0 "]), [1, 6, 6, 1, 0, 1]);
        let named = prioritise(&["a=b=7".to_owned()], "x", &["a=b", "a"]).unwrap();
        assert_eq!(named, [Priority::HIGHEST, Priority::USUAL]);
    }

    #[test]
    fn priorities_that_cannot_be_read_are_refused_before_a_torrent_is() {
        let refusal = |choice: &str| priority(choice).unwrap_err().to_string();
        let form = "is not files and their priority, like 1-5=7 or '*.txt=0'";
        assert_eq!(refusal("*.txt"), format!("'*.txt' {form}"));
        assert_eq!(refusal("=7"), format!("'=7' {form}"));
        assert_eq!(refusal("1=8"), "'8' is not a priority from 0 (not wanted) to 7 (first)");
        assert_eq!(refusal("1=high"), "'high' is not a priority from 0 (not wanted) to 7 (first)");
        assert_eq!(priority("1=0").unwrap(), "1=0");
        let missing = prioritise(&["9=7".to_owned()], "album", &PATHS).unwrap_err().to_string();
        assert!(missing.starts_with("there is no file 9; the torrent has 6 files:"), "{missing}");
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..1000).map(|number| format!("{number}\x1b")).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = select(&["1001".to_owned()], "x", &paths).unwrap_err().to_string();
        assert!(message.ends_with("\n  and 970 more, which `quelea show --all` lists"));
        assert!(!message.contains('\x1b'));
    }

    proptest! {
        #[test]
        fn ranges_agree_with_counting(files in 1usize..50, first in 0usize..60, last in 0usize..60) {
            let paths = vec!["x"; files];
            let result = select(&[format!("{first}-{last}")], "x", &paths);
            if first >= 1 && first <= last && last <= files {
                let wanted = result.unwrap();
                for number in 1..=files {
                    prop_assert_eq!(wanted[number - 1], first <= number && number <= last);
                }
            } else {
                prop_assert!(result.is_err());
            }
        }

        #[test]
        fn no_choice_and_no_path_can_break_it(choice in "\\PC*", path in "\\PC{1,20}") {
            let _ = select(&[choice], "x", &[&path]);
        }

        #[test]
        fn a_choice_that_is_taken_selects_something(choice in "[0-9,*a-c/?-]{1,8}") {
            if let Ok(wanted) = select(&[choice], "x", &["a", "b/c", "ab"]) {
                prop_assert!(wanted.contains(&true));
            }
        }
    }
}
