//! The database: what is read back, and what becomes of one that is not ours, not whole or not of this version.

use crate::database::{Change, Database, NAME, Name, Saved, SavedBlock};
use quelea_storage::file_layer::Stamp;
use std::collections::HashMap;
use std::path::Path;

fn name(directory: &str) -> Name {
    Name { info_hash: [3; 20], directory: directory.as_bytes().to_vec() }
}

const STAMP: Stamp = Stamp { length: 5, modified: -7, changed: i64::MAX };

fn save(database: &mut Database, directory: &str, clean: bool) {
    let mut bytes = quelea_block::Pool::new(0).take(3);
    bytes.copy_from_slice(&[1, 2, 3]);
    let change = Change {
        have: &[0b1010_0000],
        wanted: &[0x80],
        clean,
        stamps: &[(-1, Some(STAMP)), (0, Some(STAMP)), (4, None)],
        downloaded: u64::MAX,
        uploaded: 9,
        blocks: Some(&[SavedBlock { piece: 1, begin: 16_384, bytes }]),
    };
    database.save(&name(directory), &change).unwrap();
}

fn saved(clean: bool) -> Saved {
    Saved {
        have: vec![0b1010_0000],
        clean,
        stamps: HashMap::from([(-1, STAMP), (0, STAMP)]),
        downloaded: u64::MAX,
        uploaded: 9,
    }
}

fn open(directory: &Path) -> (Database, Vec<String>) {
    let mut warnings = Vec::new();
    let database = Database::open(directory, &mut warnings).unwrap();
    (database, warnings)
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut database, _) = open(folder.path());
    assert_eq!(database.load(&name("a")).unwrap(), None);
    save(&mut database, "a", false);
    save(&mut database, "b", true);
    drop(database);
    let (mut database, warnings) = open(folder.path());
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(database.load(&name("a")).unwrap(), Some(saved(false)));
    assert_eq!(database.load(&name("b")).unwrap(), Some(saved(true)));
    assert_eq!(database.load(&name("c")).unwrap(), None);
    assert_eq!(database.load_blocks(&name("a")).unwrap()[0].bytes, [1, 2, 3]);
    save(&mut database, "a", true);
    assert_eq!(database.load(&name("a")).unwrap(), Some(saved(true)));
    assert_eq!(database.load_blocks(&name("a")).unwrap().len(), 1);
}

#[test]
fn blocks_outlast_a_run_that_is_killed_and_are_forgotten_with_their_piece() {
    let folder = tempfile::tempdir().unwrap();
    let (mut database, _) = open(folder.path());
    save(&mut database, "a", true);
    save(&mut database, "b", true);
    // What a run tells while it goes on, and when it starts.
    let running = |have: &'static [u8]| Change {
        have,
        wanted: &[0x80],
        clean: false,
        stamps: &[],
        downloaded: 0,
        uploaded: 0,
        blocks: None,
    };
    database.save(&name("a"), &running(&[0b1011_0000])).unwrap();
    assert_eq!(database.load_blocks(&name("a")).unwrap().len(), 1);
    database.save(&name("a"), &running(&[0b1111_0000])).unwrap();
    assert_eq!(database.load_blocks(&name("a")).unwrap(), []);
    assert_eq!(database.load_blocks(&name("b")).unwrap().len(), 1, "that of another directory");
}

#[test]
fn two_processes_may_have_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, _) = open(folder.path());
    let (mut two, _) = open(folder.path());
    save(&mut one, "a", true);
    save(&mut two, "b", true);
    assert!(one.load(&name("b")).unwrap().is_some() && two.load(&name("a")).unwrap().is_some());
}

/// Opens a database that was spoilt: it must be kept as it was, and another one work.
fn assert_kept_aside(spoil: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    save(&mut open(folder.path()).0, "a", true);
    spoil(&path);
    let bytes = std::fs::read(&path).unwrap();
    let (mut database, warnings) = open(folder.path());
    assert!(warnings[0].contains("state.db.aside-1"), "{warnings:?}");
    assert_eq!(std::fs::read(folder.path().join("state.db.aside-1")).unwrap(), bytes);
    assert_eq!(database.load(&name("a")).unwrap(), None);
    save(&mut database, "a", true);
    drop(database);
    assert_eq!(open(folder.path()).1, Vec::<String>::new());
    spoil(&path);
    assert!(open(folder.path()).1[0].contains("state.db.aside-2"));
    let expected = ["state.db", "state.db.aside-1", "state.db.aside-2", "state.lock"];
    assert_eq!(names_in(folder.path()), expected);
}

#[test]
fn garbage_is_kept_aside() {
    assert_kept_aside(|path| std::fs::write(path, vec![0xa5; 20_000]).unwrap());
    assert_kept_aside(|path| std::fs::write(path, "hello").unwrap());
}

#[test]
fn a_truncated_one_is_kept_aside() {
    for keep in [1, 100, 4_095, 4_096, 8_192] {
        assert_kept_aside(|path| {
            std::fs::File::options().write(true).open(path).unwrap().set_len(keep).unwrap();
        });
    }
}

#[test]
fn one_with_a_broken_page_is_kept_aside() {
    assert_kept_aside(|path| {
        let mut bytes = std::fs::read(path).unwrap();
        let end = bytes.len();
        bytes[4_096..end].fill(0xff);
        std::fs::write(path, bytes).unwrap();
    });
}

#[test]
fn one_of_a_later_version_is_kept_aside() {
    assert_kept_aside(|path| {
        let later = rusqlite::Connection::open(path).unwrap();
        later.pragma_update(None, "user_version", 1_000).unwrap();
        later.execute_batch("CREATE TABLE IF NOT EXISTS later (what)").unwrap();
    });
}

#[test]
fn one_that_says_that_it_may_only_be_read_is_kept_aside() {
    assert_kept_aside(|path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[18] = 0x12;
        std::fs::write(path, bytes).unwrap();
    });
}

#[test]
fn one_of_another_program_is_kept_aside() {
    assert_kept_aside(|path| {
        std::fs::remove_file(path).unwrap();
        let other = rusqlite::Connection::open(path).unwrap();
        other.execute_batch("CREATE TABLE theirs (what)").unwrap();
    });
}

#[test]
fn one_without_a_table_is_kept_aside() {
    assert_kept_aside(|path| {
        let ours = rusqlite::Connection::open(path).unwrap();
        ours.execute_batch("DROP TABLE block").unwrap();
    });
}

#[test]
fn an_empty_one_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(NAME), "").unwrap();
    let (mut database, warnings) = open(folder.path());
    save(&mut database, "a", true);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_bit_that_falls_over_makes_no_piece_good() {
    let folder = tempfile::tempdir().unwrap();
    save(&mut open(folder.path()).0, "a", true);
    let spoil = |what: &str| {
        let database = rusqlite::Connection::open(folder.path().join(NAME)).unwrap();
        assert_eq!(database.execute(what, []).unwrap(), 1);
    };
    spoil("UPDATE torrent SET have = x'b0'");
    assert_eq!(open(folder.path()).0.load(&name("a")).unwrap(), None);
    spoil("UPDATE torrent SET have = x'a0'");
    assert!(open(folder.path()).0.load(&name("a")).unwrap().is_some());
    spoil("UPDATE torrent SET clean = 0");
    assert_eq!(open(folder.path()).0.load(&name("a")).unwrap(), None);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in the way"), "").unwrap();
    assert!(Database::open(&folder.path().join("in the way/state"), &mut Vec::new()).is_err());
}

#[test]
fn one_of_the_second_version_keeps_its_torrents() {
    let folder = tempfile::tempdir().unwrap();
    let (mut database, _) = open(folder.path());
    save(&mut database, "a", true);
    drop(database);
    let earlier = rusqlite::Connection::open(folder.path().join(NAME)).unwrap();
    earlier
        .execute_batch("ALTER TABLE library DROP COLUMN super_seeding; DROP TABLE ban; DROP TABLE link")
        .unwrap();
    earlier.pragma_update(None, "user_version", 2).unwrap();
    earlier
        .execute(
            "INSERT INTO library VALUES (7, ?1, 0, ?2, 'name', 0, '', '', NULL, 0, 1, 0, 0, 0, 0, NULL, NULL, NULL, 0, 5,
                 10, 10, 10, 1, 1, 2, 3, 0, 0, 0, NULL, 1, NULL, 0)",
            rusqlite::params![[5u8; 20], b"/there"],
        )
        .unwrap();
    drop(earlier);
    let (library, kept) = crate::Library::open(folder.path(), |warning| panic!("{warning}")).unwrap();
    let [torrent] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((torrent.id, torrent.name.as_str(), torrent.sequential), (7, "name", true));
    assert!(!torrent.super_seeding);
    assert_eq!(library.banned(), Ok(Vec::new()));
    let mut changed = torrent.clone();
    changed.super_seeding = true;
    library.put(changed.clone(), None);
    drop(library);
    let (_, kept) = crate::Library::open(folder.path(), |warning| panic!("{warning}")).unwrap();
    assert_eq!(kept, [changed]);
    let (database, _) = open(folder.path());
    assert_eq!(database.load(&name("a")).unwrap(), Some(saved(true)));
}

#[test]
fn one_of_the_fourth_version_takes_links_and_gives_them_back_until_there_is_a_torrent() {
    use quelea_swarm::queue::{Goals, Then};
    let folder = tempfile::tempdir().unwrap();
    let (mut database, _) = open(folder.path());
    save(&mut database, "a", true);
    drop(database);
    let earlier = rusqlite::Connection::open(folder.path().join(NAME)).unwrap();
    earlier.execute_batch("DROP TABLE link").unwrap();
    earlier.pragma_update(None, "user_version", 4).unwrap();
    drop(earlier);
    let open_library = || crate::Library::open(folder.path(), |warning| panic!("{warning}")).unwrap().0;
    let goals = Goals { ratio: Some(1.5), then: Then::Remove, ..Goals::default() };
    let link = |id: u64| crate::KeptLink {
        id,
        info_hash: [id as u8; 20],
        link: format!("magnet:?xt=urn:btih:{id:040}&tr=udp://t.example:1"),
        directory: "/there".into(),
        incomplete: Some("/while".into()),
        labels: ["one".into(), "two".into()].into(),
        preallocate: true,
        paused: id == 3,
        forced: false,
        goals: (id == 3).then_some(goals),
        limits: (5, 0),
        sequential: true,
        super_seeding: false,
    };
    let library = open_library();
    assert_eq!(library.links(), Ok(Vec::new()));
    [2, 3, 4].into_iter().for_each(|id| library.put_link(link(id)));
    drop(library);
    let library = open_library();
    assert_eq!(library.links(), Ok(vec![link(2), link(3), link(4)]));
    library.delete_link(2);
    drop(library);
    // A kill between the torrent's row and the end of the link's.
    let torrent = rusqlite::Connection::open(folder.path().join(NAME)).unwrap();
    torrent
        .execute(
            "INSERT INTO library VALUES (4, ?1, 0, ?2, 'name', 0, '', '', NULL, 0, 1, 0, 0, 0, 0, NULL, NULL, NULL, 0, 5,
                 10, 10, 10, 1, 1, 2, 3, 0, 0, 0, NULL, 1, NULL, 0, 0)",
            rusqlite::params![[4u8; 20], b"/there"],
        )
        .unwrap();
    assert_eq!(open_library().links(), Ok(vec![link(3)]));
    let (database, _) = open(folder.path());
    assert_eq!(database.load(&name("a")).unwrap(), Some(saved(true)));
}
