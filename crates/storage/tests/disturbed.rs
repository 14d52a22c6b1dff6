//! What other programs do to a torrent's files while it runs is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_metainfo::geometry::{Geometry, Span};
use quelea_storage::{FileSpec, Holder, Options, Standing, StorageError, Store};
use std::path::Path;
use std::sync::Arc;
use support::clocked::Clocked;

const PIECE: u32 = 1_000;
/// Longer than a tick of the clock that stamps are made by, in nanoseconds.
const TICK: i64 = 30_000_000;
const SECOND: i64 = 1_000_000_000;

struct Bed {
    folder: tempfile::TempDir,
    layer: Arc<Clocked>,
    store: Store,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layer = Clocked::new();
        let files = vec![
            FileSpec { path: "a".into(), length: 4 * u64::from(PIECE), pad: false },
            FileSpec { path: "b".into(), length: 2 * u64::from(PIECE), pad: false },
        ];
        let options = Options { layer: Arc::clone(&layer) as _, ..Options::default() };
        let geometry = Geometry::new(6 * u64::from(PIECE), PIECE).unwrap();
        let store = Store::open(folder.path(), files, geometry, options).unwrap();
        let holders: Vec<Holder> = store.holders().collect();
        store.take_stamps(&holders);
        Self { folder, layer, store }
    }

    fn a(&self) -> Holder {
        self.store.holders().next().unwrap()
    }

    fn standing(&self) -> Standing {
        self.store.standing(self.a()).unwrap()
    }

    fn write(&self, number: u32) {
        let piece = self.store.layout().geometry().piece(number).unwrap();
        self.store.write_piece(piece, &[vec![7; PIECE as usize]]).unwrap();
    }

    fn write_all(&self) {
        (0..6).for_each(|number| self.write(number));
        self.layer.pass(TICK);
    }

    fn others_change(&self, name: &str) {
        self.layer.others_write(&self.folder.path().join(name), 500, b"X");
    }

    fn span(&self, number: u32) -> Span {
        self.store.layout().geometry().span(number, 0, PIECE).unwrap()
    }

    /// What a peer is given of a piece.
    fn give(&self, number: u32) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; PIECE as usize];
        if !self.store.try_give_cached(self.span(number), &mut bytes) {
            self.store.give(self.span(number), &mut bytes)?;
        }
        Ok(bytes)
    }
}

#[test]
fn what_our_own_writes_leave_is_ours_once_a_change_would_show() {
    let bed = Bed::new();
    bed.write(0);
    bed.write(1);
    assert_eq!(bed.standing(), Standing::Unsettled);
    bed.layer.pass(TICK);
    assert!(matches!(bed.standing(), Standing::Ours(_)));
    assert_eq!(bed.store.standing(bed.store.holders().nth(1).unwrap()).unwrap(), Standing::Absent);
    assert!(bed.store.disturbed().is_empty());
}

#[test]
fn writers_that_take_turns_at_a_new_file_are_no_strangers_to_each_other() {
    for _ in 0..50 {
        let bed = Bed::new();
        std::thread::scope(|scope| {
            let bed = &bed;
            (0..6).for_each(|number| _ = scope.spawn(move || bed.write(number)));
        });
        assert!(bed.store.disturbed().is_empty());
        bed.layer.pass(TICK);
        assert!(matches!(bed.standing(), Standing::Ours(_)));
    }
}

#[test]
fn a_change_between_two_of_our_writes_is_noticed() {
    let bed = Bed::new();
    bed.write(0);
    bed.layer.pass(TICK);
    bed.others_change("a");
    bed.layer.pass(TICK);
    bed.write(1);
    bed.layer.pass(TICK);
    assert_eq!(bed.standing(), Standing::Disturbed);
    assert_eq!(bed.store.disturbed(), [bed.a()]);
}

#[test]
fn a_change_after_our_last_write_is_noticed_even_if_its_time_is_set_back() {
    let bed = Bed::new();
    bed.write_all();
    let before = bed.store.stamp(bed.a()).unwrap().unwrap();
    bed.others_change("a");
    // As `touch -d`, `cp -p` and `rsync -t` do.
    bed.layer.set_modified(&bed.folder.path().join("a"), before.modified);
    assert_eq!(bed.standing(), Standing::Disturbed);
}

#[test]
fn a_file_that_others_put_where_ours_was_to_be_is_noticed() {
    let bed = Bed::new();
    std::fs::write(bed.folder.path().join("a"), vec![1; 2_000]).unwrap();
    bed.write(3);
    bed.layer.pass(TICK);
    assert_eq!(bed.standing(), Standing::Disturbed);
}

#[test]
fn where_stamps_are_whole_seconds_what_we_wrote_is_not_proven_until_it_was_looked_at_again() {
    let bed = Bed::new();
    bed.layer.set_grain(SECOND);
    bed.write(0);
    bed.layer.pass(5 * SECOND);
    assert_eq!(bed.standing(), Standing::Unproven);
    bed.store.take_stamps(&[bed.a()]);
    assert!(matches!(bed.standing(), Standing::Ours(_)));
    assert!(bed.store.proof(bed.a()).is_some());
}

#[test]
fn a_changed_file_is_not_given_to_others_until_it_was_looked_at_again() {
    let bed = Bed::new();
    bed.write_all();
    assert_eq!(bed.give(0).unwrap(), [7; PIECE as usize]);
    bed.others_change("a");
    bed.layer.pass(SECOND);
    assert!(matches!(bed.give(0), Err(StorageError::Disturbed(path)) if path.ends_with("a")));
    assert!(matches!(bed.give(3), Err(StorageError::Disturbed(_))));
    assert!(bed.give(4).is_ok(), "the other file is as it was");
    // Hashing reads it all the same.
    bed.store.read(bed.span(0), &mut [0; PIECE as usize]).unwrap();
    let pieces: Vec<u32> =
        bed.store.pieces_in(&bed.store.disturbed()).iter().map(|piece| piece.get()).collect();
    assert_eq!(pieces, [0, 1, 2, 3]);
    bed.layer.pass(TICK);
    bed.store.take_stamps(&bed.store.disturbed());
    assert_eq!(bed.give(0).unwrap()[500], b'X');
}

#[test]
fn a_file_is_looked_up_once_a_second_however_much_of_it_is_given() {
    let bed = Bed::new();
    bed.write_all();
    bed.layer.pass(SECOND);
    bed.give(0).unwrap();
    let before = bed.layer.looks();
    (0..1_000).for_each(|number| _ = bed.give(number % 4).unwrap());
    assert_eq!(bed.layer.looks(), before);
    bed.layer.pass(SECOND);
    (0..1_000).for_each(|number| _ = bed.give(number % 4).unwrap());
    assert_eq!(bed.layer.looks(), before + 1);
}

#[test]
fn a_file_that_was_replaced_or_removed_is_not_given_from_what_is_still_open() {
    let bed = Bed::new();
    bed.write_all();
    let path = |name: &str| bed.folder.path().join(name);
    bed.give(0).unwrap();
    std::fs::rename(path("a"), path("elsewhere")).unwrap();
    bed.layer.pass(SECOND);
    assert!(matches!(bed.give(0), Err(StorageError::Vanished(_))));
    assert!(matches!(bed.store.are_back(), Err(StorageError::Vanished(_))));
    std::fs::copy(path("elsewhere"), path("a")).unwrap();
    bed.store.are_back().unwrap();
    assert!(matches!(bed.give(0), Err(StorageError::Disturbed(_))), "it may be another one");
    bed.store.look_again().unwrap();
    bed.store.take_stamps(&bed.store.disturbed());
    bed.give(0).unwrap();
    bed.layer.pass(SECOND);
    std::fs::copy(path("elsewhere"), path("new")).unwrap();
    bed.layer.others_write(&path("new"), 500, b"X");
    std::fs::rename(path("new"), path("a")).unwrap();
    assert!(matches!(bed.give(0), Err(StorageError::Disturbed(_))));
    assert!(Path::new(&path("a")).exists());
}
