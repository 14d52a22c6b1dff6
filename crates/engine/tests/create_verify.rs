//! Making and verifying torrents by the library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use quelea::create::{CreateTorrent, Created, Progress};
use quelea::verify::{FileState, Verified, verify};
use quelea_metainfo::{Info, Metainfo};
use quelea_storage::{FileSpec, Options, Store, part_file_name};
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// A folder `data` with files of these lengths, named by their numbers.
fn data(lengths: &[usize]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (number, length) in lengths.iter().enumerate() {
        put(root.path(), &format!("data/{number:02}"), &noise(*length, number as u64));
    }
    root
}

fn create(root: &TempDir, piece_length: u32) -> Created {
    let mut torrent = CreateTorrent::new(root.path().join("data"));
    torrent.piece_length = Some(piece_length);
    torrent.run(|_| ControlFlow::Continue(())).unwrap().unwrap()
}

fn look(info: &Arc<Info>, root: &Path) -> Verified {
    verify(info, root, |_| ControlFlow::Continue(())).unwrap().unwrap()
}

fn states(verified: &Verified) -> Vec<FileState> {
    verified.files.iter().map(|file| file.state.clone()).collect()
}

#[test]
fn progress_ends_with_every_byte_of_both() {
    let root = data(&[100_000, 50_000]);
    let mut torrent = CreateTorrent::new(root.path().join("data"));
    torrent.piece_length = Some(16_384);
    let mut last = Progress { done: 0, total: 0 };
    let mut told = |progress: Progress| {
        assert!(progress.done >= last.done && progress.done <= progress.total);
        last = progress;
        ControlFlow::Continue(())
    };
    let created = torrent.run(&mut told).unwrap().unwrap();
    assert_eq!(last, Progress { done: 150_000, total: 150_000 });
    last = Progress { done: 0, total: 0 };
    let mut told = |progress: Progress| {
        assert!(progress.done >= last.done && progress.done <= progress.total);
        last = progress;
        ControlFlow::Continue(())
    };
    verify(&Arc::new(created.metainfo.info), root.path(), &mut told).unwrap().unwrap();
    assert_eq!(last, Progress { done: 150_000, total: 150_000 });
}

#[test]
fn both_stop_when_progress_breaks() {
    let root = data(&[100_000]);
    let stopped = CreateTorrent::new(root.path().join("data")).run(|_| ControlFlow::Break(())).unwrap();
    assert!(stopped.is_none());
    let info = Arc::new(create(&root, 16_384).metainfo.info);
    assert!(verify(&info, root.path(), |_| ControlFlow::Break(())).unwrap().is_none());
}

#[test]
fn what_a_part_file_holds_counts_for_the_pieces_of_wanted_files() {
    // File 1 is wanted alone; it shares a piece with each neighbour.
    let root = data(&[20_000, 20_000, 20_000]);
    let created = create(&root, 16_384);
    let info = Arc::new(created.metainfo.info);
    let target = tempfile::tempdir().unwrap();
    let spec = |file: &quelea_metainfo::File| FileSpec {
        path: file.path.as_str().into(),
        length: file.length,
        pad: false,
    };
    let options = Options {
        wanted: Some(vec![false, true, false]),
        part_file: Some(part_file_name(&info.name, &info.hashes.wire())),
        ..Options::default()
    };
    let specs = info.files.iter().map(spec).collect();
    let store = Store::open(target.path(), specs, info.geometry, options).unwrap();
    let whole: Vec<u8> = (0..3).flat_map(|number| noise(20_000, number)).collect();
    for number in 1..3 {
        let piece = info.geometry.piece(number).unwrap();
        let start = info.geometry.offset_of(piece) as usize;
        let bytes = &whole[start..start + info.geometry.length_of(piece) as usize];
        store.write_piece(piece, &[bytes]).unwrap();
    }
    drop(store);
    let verified = look(&info, target.path());
    assert_eq!(verified.pieces, [false, true, true, false]);
    assert_eq!(states(&verified), [FileState::Missing, FileState::Good, FileState::Missing]);
    assert!(verified.trouble.is_none(), "{:?}", verified.trouble);
}

#[test]
fn padding_is_no_file_and_its_neighbours_share_nothing() {
    let (a, b) = (noise(20_000, 1), noise(10_000, 2));
    let pad = 32_768 - 20_000;
    let whole = [&a[..], &vec![0; pad], &b].concat();
    let digests: Vec<u8> = whole.chunks(16_384).flat_map(quelea_digest::sha1).collect();
    let torrent = [
        format!(
            "d4:infod5:filesld6:lengthi20000e4:pathl1:aeed4:attr1:p6:lengthi{pad}e4:pathl4:.pad5:{pad}eed6:\
             lengthi10000e4:pathl1:beee4:name4:data12:piece lengthi16384e6:pieces{}:",
            digests.len()
        )
        .into_bytes(),
        digests,
        b"ee".to_vec(),
    ]
    .concat();
    let info = Arc::new(Metainfo::parse(&torrent).unwrap().info);
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "data/a", &a);
    put(root.path(), "data/b", &b);
    let verified = look(&info, root.path());
    assert!(verified.is_complete(), "{verified:?}");
    assert_eq!(verified.files.iter().map(|file| file.number).collect::<Vec<_>>(), [0, 2]);
    std::fs::remove_file(root.path().join("data/b")).unwrap();
    assert_eq!(states(&look(&info, root.path())), [FileState::Good, FileState::Missing]);
    // The piece that a shares with nothing but padding is its own.
    put(root.path(), "data/b", &b);
    put(root.path(), "data/a", &[&a[..19_999], &[a[19_999] ^ 1]].concat());
    assert_eq!(states(&look(&info, root.path())), [FileState::Damaged, FileState::Good]);
}

#[test]
fn links_of_the_user_are_followed_and_those_that_lead_nowhere_are_named() {
    let root = data(&[100, 200]);
    let info = Arc::new(create(&root, 16_384).metainfo.info);
    let (folder, elsewhere) = (root.path().join("data"), root.path().join("elsewhere"));
    std::fs::rename(&folder, &elsewhere).unwrap();
    symlink("elsewhere", &folder).unwrap();
    std::fs::rename(elsewhere.join("00"), root.path().join("file")).unwrap();
    symlink("../file", elsewhere.join("00")).unwrap();
    assert_eq!(states(&look(&info, root.path())), [FileState::Good, FileState::Good]);

    std::fs::remove_file(root.path().join("file")).unwrap();
    assert!(matches!(
        &states(&look(&info, root.path()))[..],
        [FileState::Unreadable(_), FileState::Unproven]
    ));
    std::fs::remove_file(&folder).unwrap();
    symlink("gone", &folder).unwrap();
    for state in states(&look(&info, root.path())) {
        let FileState::Unreadable(why) = state else { panic!("{state:?}") };
        assert!(why.contains("data\" is a symbolic link that leads to nothing"), "{why}");
    }
}

#[test]
fn a_folder_that_cannot_be_looked_into_does_not_hide_the_others() {
    let root = data(&[20_000, 30_000]);
    let (b, elsewhere) = (noise(40_000, 9), root.path().join("data/sub"));
    put(root.path(), "data/sub/c", &b);
    let info = Arc::new(create(&root, 16_384).metainfo.info);
    std::fs::remove_dir_all(&elsewhere).unwrap();
    // A link to itself is what everybody, root too, is refused.
    std::os::unix::fs::symlink("sub", &elsewhere).unwrap();
    let verified = look(&info, root.path());
    let [one, two, three] = &states(&verified)[..] else { panic!("{verified:?}") };
    assert!(matches!(three, FileState::Unreadable(_)), "{three:?}");
    assert_eq!(one, &FileState::Good);
    assert!(matches!(two, FileState::Good | FileState::Unproven), "{two:?}");
    assert!(!verified.is_complete() && verified.pieces[0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_torrent_created_reads_back_and_verifies_and_a_flipped_bit_is_found(
        lengths in prop::collection::vec(prop_oneof![Just(0usize), 1usize..2_000, 16_000usize..70_000], 1..8),
        victim in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>(),
    ) {
        prop_assume!(lengths.iter().any(|length| *length > 0));
        let root = data(&lengths);
        let created = create(&root, 16_384);
        prop_assert_eq!(&create(&root, 16_384).bytes, &created.bytes);
        prop_assert_eq!(&Metainfo::parse(&created.bytes).unwrap(), &created.metainfo);
        let info = Arc::new(created.metainfo.info);
        let found: Vec<usize> = info.files.iter().map(|file| file.length as usize).collect();
        prop_assert_eq!(&found, &lengths);
        prop_assert!(look(&info, root.path()).is_complete());

        let full: Vec<usize> = (0..lengths.len()).filter(|number| lengths[*number] > 0).collect();
        let victim = full[victim.index(full.len())];
        let mut bytes = noise(lengths[victim], victim as u64);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        put(root.path(), &format!("data/{victim:02}"), &bytes);
        let verified = look(&info, root.path());
        let piece = (info.files[victim].offset as usize + bit / 8) / 16_384;
        let bad: Vec<usize> = (0..verified.pieces.len()).filter(|piece| !verified.pieces[*piece]).collect();
        prop_assert_eq!(bad, [piece]);
        prop_assert_eq!(&verified.files[victim].state, &FileState::Damaged);
        for file in &verified.files {
            let touches = info.geometry.pieces_touching(info.files[file.number].offset, info.files[file.number].length);
            prop_assert_eq!(file.state == FileState::Good, !touches.contains(&(piece as u32)));
        }
    }
}
