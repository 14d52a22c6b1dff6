//! The state when the power fails, when the program is killed, and when the database is not what it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod database;
mod fragile;

use super::database::{Database, Name};
use super::{Locks, Plan, Record};
use fragile::Fragile;
use quelea_metainfo::geometry::{Geometry, PieceIndex};
use quelea_storage::{FileSpec, Options, Store};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A torrent of a few files, one of them unwanted now and then, and its content without a zero.
struct Content {
    files: Vec<FileSpec>,
    wanted: Vec<bool>,
    geometry: Geometry,
    bytes: Vec<u8>,
}

impl Content {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let files: Vec<FileSpec> = (0..rng.usize(1..5))
            .map(|number| FileSpec {
                path: format!("t/{number}").into(),
                length: rng.u64(..30_000),
                pad: rng.u8(..8) == 0,
            })
            .collect();
        let mut wanted: Vec<bool> = files.iter().map(|_| rng.u8(..4) > 0).collect();
        wanted[0] = true;
        let total = files.iter().map(|file| file.length).sum();
        let mut bytes = Vec::new();
        for file in &files {
            bytes.extend((0..file.length).map(|_| if file.pad { 0 } else { rng.u8(1..) }));
        }
        Self { files, wanted, geometry: Geometry::new(total, rng.u32(600..6_000)).unwrap(), bytes }
    }

    fn piece(&self, piece: PieceIndex) -> &[u8] {
        let start = self.geometry.offset_of(piece) as usize;
        &self.bytes[start..start + self.geometry.length_of(piece) as usize]
    }

    fn open(&self, root: &Path, layer: Option<Arc<Fragile>>) -> Option<Arc<Store>> {
        let mut options = Options {
            wanted: Some(self.wanted.clone()),
            part_file: Some(PathBuf::from(".parts")),
            ..Options::default()
        };
        if let Some(layer) = layer {
            options.layer = layer;
        }
        Store::open(root, self.files.clone(), self.geometry, options).ok().map(Arc::new)
    }

    /// Whether a piece is on the disk.
    fn is_there(&self, root: &Path, piece: PieceIndex) -> bool {
        let Some(store) = self.open(root, None) else { return false };
        let mut found = vec![0; self.piece(piece).len()];
        let span = self.geometry.span(piece.get(), 0, found.len() as u32).unwrap();
        store.read(span, &mut found).is_ok() && found == self.piece(piece)
    }
}

#[derive(Default)]
struct Sums {
    trusted: usize,
    wrong: usize,
    lost: usize,
    cuts: usize,
    refetched: usize,
}

/// Downloads a torrent in a few lives, each of which ends by a loss of power, a kill, or in peace.
fn live(seed: u64, lying: bool, sums: &mut Sums) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let content = Content::random(&mut rng);
    // In memory, where there is such a place: nothing of this shall wait for a real disk.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let root = folder.path().join("downloads");
    let name = Name { info_hash: [1; 20], directory: b"downloads".to_vec() };
    let database = Mutex::new(Some(Database::in_memory()));
    let disk = Arc::new(Fragile::new(&root, rng.u64(..), lying));
    for _ in 0..3 {
        disk.power(if rng.bool() { usize::MAX } else { rng.usize(1..60) });
        let Some(store) = content.open(&root, Some(Arc::clone(&disk))) else {
            disk.cut();
            continue;
        };
        let saved = database.lock().unwrap().as_ref().unwrap().load(&name).unwrap();
        let plan = Plan::new(saved.as_ref(), &store);
        let mut good = Vec::new();
        let mut missing = Vec::new();
        for piece in content.geometry.iter() {
            let there = content.is_there(&root, piece);
            if plan.trusted.has(piece) {
                sums.trusted += 1;
                sums.wrong += usize::from(!there);
            } else if plan.check.contains(&piece) && there {
                good.push(piece);
            } else {
                // A piece of padding is whole without ever being written.
                let padding = content.piece(piece).iter().all(|&byte| byte == 0);
                sums.refetched += usize::from(there && !padding);
                missing.push(piece);
            }
        }
        let lock = Locks::new(folder.path()).take(&name).unwrap_or_else(|_| panic!("locked"));
        let record = {
            let begun = (saved.as_ref(), &plan);
            Record::start(
                (name.clone(), name.clone()),
                Arc::clone(&store),
                vec![(name.clone(), lock)],
                begun,
                Box::new(|_| ()),
                &database,
            )
        };
        let record = record.unwrap();
        record.found(good.into_iter());
        rng.shuffle(&mut missing);
        missing.truncate(rng.usize(..=missing.len()));
        for piece in missing {
            if store.write_piece(piece, &[content.piece(piece)]).is_err() {
                break;
            }
            record.written(piece);
            if rng.u8(..4) == 0 {
                record.save(&database, None).unwrap();
            }
        }
        if disk.is_on() && rng.bool() {
            record.save(&database, Some(&[])).unwrap();
        }
        drop((store, record));
        if !disk.is_on() || rng.bool() {
            disk.cut();
            sums.cuts += 1;
        }
    }
    sums.lost += disk.lost();
}

#[test]
fn no_piece_is_called_good_that_a_loss_of_power_took() {
    let mut sums = Sums::default();
    for seed in 0..1_000 {
        live(seed, false, &mut sums);
        assert_eq!(sums.wrong, 0, "seed {seed}: a piece that is not there is trusted");
        assert_eq!(sums.refetched, 0, "seed {seed}: a piece that is there would be fetched again");
    }
    // The world is as hard as it is meant to be, and the state of use.
    assert!(sums.cuts > 1_000 && sums.lost > 3_000, "{} cuts, {} pages lost", sums.cuts, sums.lost);
    assert!(sums.trusted > 3_000, "{} pieces trusted", sums.trusted);
}

#[test]
fn a_disk_that_lies_about_syncing_would_be_found_out() {
    let mut sums = Sums::default();
    for seed in 0..200 {
        live(seed, true, &mut sums);
    }
    assert!(sums.wrong > 0, "the simulation loses nothing that matters");
}

#[test]
fn a_file_that_vanishes_while_it_is_written_to_is_told_and_its_pieces_are_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("downloads");
    let content = four_pieces();
    let store = content.open(&root, None).unwrap();
    let name = Name { info_hash: [1; 20], directory: b"downloads".to_vec() };
    let database = Mutex::new(Some(Database::in_memory()));
    let plan = Plan::new(None, &store);
    let lock = Locks::new(folder.path()).take(&name).unwrap_or_else(|_| panic!("locked"));
    let told = Arc::new(Mutex::new(Vec::new()));
    let trouble = Arc::clone(&told);
    let on_trouble = Box::new(move |error: quelea_storage::StorageError| {
        trouble.lock().unwrap().push(error.to_string());
    });
    let record = Record::start(
        (name.clone(), name.clone()),
        Arc::clone(&store),
        vec![(name.clone(), lock)],
        (None, &plan),
        on_trouble,
        &database,
    );
    let record = record.unwrap();
    let write = |number| {
        let piece = content.geometry.piece(number).unwrap();
        store.write_piece(piece, &[content.piece(piece)]).unwrap();
        record.written(piece);
    };
    write(0);
    record.save(&database, None).unwrap();
    std::fs::rename(root.join("a"), root.join("b")).unwrap();
    write(1);
    record.save(&database, None).unwrap();
    assert!(told.lock().unwrap()[0].contains("downloads/a\" has vanished"), "{told:?}");
    assert!(record.is_mended().is_err());
    std::fs::rename(root.join("b"), root.join("a")).unwrap();
    assert!(record.is_mended().is_ok());
    // What became of it in the meantime is not known.
    write(2);
    record.save(&database, Some(&[])).unwrap();
    let saved = database.lock().unwrap().as_ref().unwrap().load(&name).unwrap().unwrap();
    let plan = Plan::new(Some(&saved), &content.open(&root, None).unwrap());
    assert_eq!((plan.trusted.count(), plan.check.len()), (0, 4));
}

#[test]
fn what_others_change_between_our_last_write_and_its_saving_is_told_and_hashed_at_the_next_start() {
    use std::os::unix::fs::FileExt;
    for (last, cut) in [(false, false), (true, false), (false, true), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("downloads");
        let content = four_pieces();
        let store = content.open(&root, None).unwrap();
        let name = Name { info_hash: [1; 20], directory: b"downloads".to_vec() };
        let database = Mutex::new(Some(Database::in_memory()));
        let plan = Plan::new(None, &store);
        let lock = Locks::new(folder.path()).take(&name).unwrap_or_else(|_| panic!("locked"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let trouble = Arc::clone(&told);
        let record = Record::start(
            (name.clone(), name.clone()),
            Arc::clone(&store),
            vec![(name.clone(), lock)],
            (None, &plan),
            Box::new(move |error| trouble.lock().unwrap().push(error.to_string())),
            &database,
        );
        let record = record.unwrap();
        for piece in content.geometry.iter() {
            store.write_piece(piece, &[content.piece(piece)]).unwrap();
            record.written(piece);
        }
        // The clock that stamps are made by goes on.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let file = std::fs::File::options().write(true).open(root.join("a")).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        if cut {
            file.set_len(3_000).unwrap();
        } else {
            file.write_all_at(b"\0", 500).unwrap();
        }
        file.set_modified(before).unwrap();
        record.save(&database, last.then_some(&[])).unwrap();
        assert!(told.lock().unwrap()[0].contains("another program changed"), "{told:?}");
        let saved = database.lock().unwrap().as_ref().unwrap().load(&name).unwrap().unwrap();
        let plan = Plan::new(Some(&saved), &content.open(&root, None).unwrap());
        assert_eq!((plan.trusted.count(), plan.check.len()), (0, 4), "last {last}, cut {cut}");
    }
}

#[test]
fn what_lay_there_before_anything_was_known_is_hashed_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("downloads");
    let content = four_pieces();
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a"), &content.bytes).unwrap();
    let store = content.open(&root, None).unwrap();
    let name = Name { info_hash: [1; 20], directory: b"downloads".to_vec() };
    let database = Mutex::new(Some(Database::in_memory()));
    let plan = Plan::new(None, &store);
    assert_eq!((plan.trusted.count(), plan.check.len()), (0, 4));
    let lock = Locks::new(folder.path()).take(&name).unwrap_or_else(|_| panic!("locked"));
    let record = Record::start(
        (name.clone(), name.clone()),
        store,
        vec![(name.clone(), lock)],
        (None, &plan),
        Box::new(|_| ()),
        &database,
    );
    let record = record.unwrap();
    record.found(plan.check.into_iter());
    record.save(&database, Some(&[])).unwrap();
    let saved = database.lock().unwrap().as_ref().unwrap().load(&name).unwrap().unwrap();
    let plan = Plan::new(Some(&saved), &content.open(&root, None).unwrap());
    assert_eq!((plan.trusted.count(), plan.check.len()), (4, 0));
}

/// A torrent of one file.
fn four_pieces() -> Content {
    Content {
        files: vec![FileSpec { path: "a".into(), length: 4_000, pad: false }],
        wanted: vec![true],
        geometry: Geometry::new(4_000, 1_000).unwrap(),
        bytes: (0..4_000).map(|number| (number % 251) as u8 + 1).collect(),
    }
}

/// Files that lie there since long are on the disk: a thousand of them are not waited for.
#[test]
fn what_was_only_read_is_not_synced() {
    let content = Content::random(&mut fastrand::Rng::with_seed(1));
    let root = tempfile::tempdir().unwrap();
    let whole = content.open(root.path(), None).unwrap();
    for piece in content.geometry.iter() {
        whole.write_piece(piece, &[content.piece(piece)]).unwrap();
    }
    drop(whole);
    // The first call that brings something to the disk would be its last one.
    let layer = Arc::new(Fragile::of_old(root.path()));
    layer.power(2);
    let store = content.open(root.path(), Some(Arc::clone(&layer))).unwrap();
    let database = Mutex::new(Some(Database::in_memory()));
    let name = Name { info_hash: [1; 20], directory: b"/there".to_vec() };
    let plan = Plan::new(None, &store);
    let start = ((name.clone(), name), Arc::clone(&store), Vec::new(), (None, &plan));
    let (names, store, locks, known) = start;
    let record = Record::start(names, store, locks, known, Box::new(|error| panic!("{error}")), &database);
    let record = record.unwrap();
    record.found(content.geometry.iter());
    layer.power(1);
    record.save(&database, None).unwrap();
    assert!(layer.is_on(), "something was synced");
}
