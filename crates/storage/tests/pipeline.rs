//! Pieces go through the threads and each gets its verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use quelea_block::{BLOCK_LENGTH, Pool};
use quelea_digest::sha1;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::{
    CheckJob, CheckOutcome, CheckProgress, Config, Options, PieceJob, PieceOutcome, PieceVerdict, Pipeline,
    StorageError, Store,
};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use support::{Torrent, file, pad};

fn pipeline(change: impl FnOnce(&mut Config)) -> Pipeline {
    let mut config = Config { hash_lanes: NonZeroUsize::new(3).unwrap(), ..Config::default() };
    change(&mut config);
    Pipeline::start(&config).unwrap()
}

struct Download {
    torrent: Torrent,
    store: Arc<Store>,
    pool: Pool,
    root: tempfile::TempDir,
    outcomes: mpsc::Receiver<PieceOutcome>,
    tell: mpsc::SyncSender<PieceOutcome>,
}

impl Download {
    fn new(torrent: Torrent, options: Options) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(torrent.open(root.path(), options).unwrap());
        let (tell, outcomes) = mpsc::sync_channel(10_000);
        Self { torrent, store, pool: Pool::new(1 << 20), root, outcomes, tell }
    }

    fn job(&self, piece: PieceIndex, spoil: Option<usize>) -> PieceJob {
        let mut blocks: Vec<_> = self
            .torrent
            .piece(piece)
            .chunks(BLOCK_LENGTH)
            .map(|bytes| {
                let mut block = self.pool.take(bytes.len());
                block.copy_from_slice(bytes);
                block
            })
            .collect();
        if let Some(block) = spoil {
            blocks[block][0] ^= 1;
        }
        let tell = self.tell.clone();
        PieceJob {
            store: Arc::clone(&self.store),
            piece,
            blocks,
            expected: sha1(self.torrent.piece(piece)),
            digest_blocks: false,
            done: Box::new(move |outcome| tell.send(outcome).unwrap()),
        }
    }

    fn outcome(&self) -> PieceOutcome {
        self.outcomes.recv_timeout(Duration::from_secs(60)).expect("a piece without an outcome")
    }

    fn check(&self, pipeline: &Pipeline) -> CheckOutcome {
        let (job, outcome) = self.check_job(self.torrent.geometry.iter().collect());
        pipeline.check(job);
        outcome.recv_timeout(Duration::from_secs(60)).expect("a check without an outcome")
    }

    fn check_job(&self, pieces: Vec<PieceIndex>) -> (CheckJob, mpsc::Receiver<CheckOutcome>) {
        let (tell, outcome) = mpsc::sync_channel(2);
        let hashes: Vec<_> =
            self.torrent.geometry.iter().map(|piece| sha1(self.torrent.piece(piece))).collect();
        let job = CheckJob {
            store: Arc::clone(&self.store),
            pieces,
            expected: Box::new(move |piece| hashes[piece.at()]),
            progress: Box::new(|_| ()),
            done: Box::new(move |outcome| tell.send(outcome).unwrap()),
        };
        (job, outcome)
    }
}

fn some_files() -> Torrent {
    Torrent::new(vec![file("t/a", 1_000_000), pad(48_576), file("t/b", 777_777), file("t/c", 5)], 65_536, 7)
}

#[test]
fn good_pieces_are_written_and_bad_ones_are_not() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|_| ());
    let is_bad = |piece: PieceIndex| piece.get() % 3 == 1;
    for piece in download.torrent.geometry.iter() {
        pipeline.submit(download.job(piece, is_bad(piece).then_some(0)));
    }
    for _ in download.torrent.geometry.iter() {
        let outcome = download.outcome();
        assert!(outcome.blocks.is_empty());
        match outcome.verdict {
            PieceVerdict::Written => {
                assert!(!is_bad(outcome.piece) && outcome.block_digests.is_empty());
                download.torrent.assert_piece_reads_back(&download.store, outcome.piece);
            }
            PieceVerdict::HashMismatch => assert!(is_bad(outcome.piece)),
            PieceVerdict::Failed(error) => panic!("{error}"),
        }
    }
    assert_eq!(download.pool.bytes_out(), 0);
    let checked = download.check(&pipeline);
    let good: Vec<bool> = download.torrent.geometry.iter().map(|piece| !is_bad(piece)).collect();
    assert_eq!(checked.good, good);
    assert!(!checked.cancelled && checked.trouble.is_none());
}

#[test]
fn block_digests_show_which_block_was_bad() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|_| ());
    let piece = download.torrent.geometry.piece(2).unwrap();
    pipeline.submit(download.job(piece, Some(3)));
    let bad = download.outcome();
    assert!(matches!(bad.verdict, PieceVerdict::HashMismatch));
    pipeline.submit(PieceJob { digest_blocks: true, ..download.job(piece, None) });
    let good = download.outcome();
    assert!(matches!(good.verdict, PieceVerdict::Written));

    let expected: Vec<_> = download.torrent.blocks(piece).into_iter().map(sha1).collect();
    assert_eq!(good.block_digests, expected);
    let differing: Vec<_> =
        (0..expected.len()).filter(|&block| good.block_digests[block] != bad.block_digests[block]).collect();
    assert_eq!(differing, [3]);
}

#[test]
fn a_piece_that_cannot_be_written_comes_back_and_can_be_tried_again() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|_| ());
    std::fs::write(download.root.path().join("t"), "in the way").unwrap();
    let piece = download.torrent.geometry.piece(0).unwrap();
    pipeline.submit(download.job(piece, None));
    let outcome = download.outcome();
    assert!(matches!(outcome.verdict, PieceVerdict::Failed(_)), "{outcome:?}");
    assert_eq!(outcome.blocks.iter().map(|block| block.len()).sum::<usize>(), 65_536);

    std::fs::remove_file(download.root.path().join("t")).unwrap();
    pipeline.submit(PieceJob { blocks: outcome.blocks, ..download.job(piece, None) });
    assert!(matches!(download.outcome().verdict, PieceVerdict::Written));
    download.torrent.assert_piece_reads_back(&download.store, piece);
}

#[test]
fn a_lone_piece_does_not_wait_for_company() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|config| {
        config.batch_pieces = 1_000;
        config.batch_bytes = usize::MAX;
    });
    pipeline.submit(download.job(download.torrent.geometry.piece(0).unwrap(), None));
    assert!(matches!(download.outcome().verdict, PieceVerdict::Written));
}

#[test]
fn a_full_batch_does_not_linger() {
    let forever = Duration::from_secs(100_000);
    for by_bytes in [false, true] {
        let download = Download::new(some_files(), Options::default());
        let pipeline = pipeline(|config| {
            config.linger = forever;
            (config.batch_pieces, config.batch_bytes) =
                if by_bytes { (1_000, 4 * 65_536) } else { (4, usize::MAX) };
        });
        // By count a batch takes exactly four; by bytes it takes whatever has come, so no more than four may come.
        let pieces = if by_bytes { 4 } else { 8 };
        for piece in download.torrent.geometry.iter().take(pieces) {
            pipeline.submit(download.job(piece, None));
        }
        for _ in 0..pieces {
            assert!(matches!(download.outcome().verdict, PieceVerdict::Written));
        }
    }
}

#[test]
fn dropping_the_pipeline_finishes_what_was_submitted() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|config| config.linger = Duration::from_secs(100_000));
    for piece in download.torrent.geometry.iter() {
        pipeline.submit(download.job(piece, None));
    }
    drop(pipeline);
    let written =
        download.outcomes.try_iter().filter(|outcome| matches!(outcome.verdict, PieceVerdict::Written));
    assert_eq!(written.count(), download.torrent.geometry.pieces() as usize);
}

#[test]
fn a_callback_may_hold_the_last_reference_to_the_pipeline() {
    // A bad piece ends on a lane, a good one on a disk thread; either must survive dropping the pipeline.
    for spoil in [Some(0), None] {
        let download = Download::new(some_files(), Options::default());
        let shared = Arc::new(pipeline(|config| {
            config.hash_lanes = NonZeroUsize::MIN;
            config.batch_pieces = 1;
        }));
        let (go, wait) = mpsc::sync_channel(1);
        let mut pieces = download.torrent.geometry.iter();
        let mut job = download.job(pieces.next().unwrap(), spoil);
        let (last, tell) = (Arc::clone(&shared), download.tell.clone());
        job.done = Box::new(move |outcome| {
            wait.recv().unwrap();
            drop(last);
            tell.send(outcome).unwrap();
        });
        shared.submit(job);
        pieces.by_ref().take(5).for_each(|piece| shared.submit(download.job(piece, None)));
        drop(shared);
        go.send(()).unwrap();
        let written = (0..6).filter(|_| matches!(download.outcome().verdict, PieceVerdict::Written)).count();
        assert_eq!(written, if spoil.is_some() { 5 } else { 6 });
    }
}

#[test]
fn many_threads_submit_and_read_at_the_same_time() {
    let files = (0..200).map(|number| file(&format!("t/{number}"), 1_000 * (number % 90))).collect();
    let download = Download::new(Torrent::new(files, 16_384, 3), Options::default());
    let pipeline = pipeline(|config| config.disk_threads = NonZeroUsize::new(6).unwrap());
    let pieces: Vec<_> = download.torrent.geometry.iter().collect();
    let (tell, read) = mpsc::sync_channel(10_000);
    std::thread::scope(|scope| {
        for some in pieces.chunks(pieces.len() / 4) {
            let (download, pipeline) = (&download, &pipeline);
            let jobs: Vec<_> = some.iter().map(|&piece| download.job(piece, None)).collect();
            scope.spawn(move || jobs.into_iter().for_each(|job| pipeline.submit(job)));
        }
        for _ in &pieces {
            let outcome = download.outcome();
            assert!(matches!(outcome.verdict, PieceVerdict::Written));
            let (tell, piece) = (tell.clone(), outcome.piece);
            let span = download.torrent.whole(piece);
            let buffer = download.pool.take(BLOCK_LENGTH);
            pipeline.read(Arc::clone(&download.store), span, buffer, move |result| {
                tell.send((piece, result)).unwrap();
            });
        }
    });
    for _ in &pieces {
        let (piece, result) = read.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(*result.unwrap() == *download.torrent.piece(piece));
    }
    assert!(download.check(&pipeline).good.iter().all(|&good| good));
}

#[test]
fn a_read_of_what_is_not_there_says_so() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|_| ());
    let read = |span, length| {
        let (tell, result) = mpsc::sync_channel(1);
        let buffer = download.pool.take(length);
        pipeline.read(Arc::clone(&download.store), span, buffer, move |result| {
            tell.send(result.map(drop)).unwrap();
        });
        result.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err()
    };
    let span = download.torrent.geometry.span(1, 0, 16_384).unwrap();
    assert!(matches!(read(span, BLOCK_LENGTH), StorageError::Vanished(_)));
    assert!(matches!(read(span, 100), StorageError::WrongLength { .. }));
}

#[test]
fn a_check_finds_exactly_the_good_pieces() {
    let download = Download::new(some_files(), Options::default());
    let pipeline = pipeline(|_| ());
    assert!(download.check(&pipeline).good.iter().all(|&good| !good), "nothing is there");
    download.torrent.write_all(&download.store);
    assert!(download.check(&pipeline).good.iter().all(|&good| good));

    let path = download.root.path().join("t/b");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    bytes.truncate(700_000);
    std::fs::write(&path, &bytes).unwrap();
    let checked = download.check(&pipeline);
    let start = 1_000_000 + 48_576;
    for piece in download.torrent.geometry.iter() {
        let offset = download.torrent.geometry.offset_of(piece);
        let spoilt = (offset..offset + 65_536).contains(&(start + 100_000));
        let cut = offset + 65_536 > start + 700_000;
        assert_eq!(checked.good[piece.at()], !spoilt && !cut, "piece {piece}");
    }
    assert!(checked.trouble.is_none());
}

#[test]
fn holes_are_good_only_where_zeros_belong() {
    let mut torrent = Torrent::new(vec![file("a", 40 * 65_536 + 100)], 65_536, 7);
    torrent.content[65_536..10 * 65_536].fill(0);
    torrent.content[40 * 65_536..].fill(0);
    let download = Download::new(torrent, Options::default());
    let all = std::fs::File::create(download.root.path().join("a")).unwrap();
    all.set_len(40 * 65_536 + 100).unwrap();
    let store = Arc::new(download.torrent.open(download.root.path(), Options::default()).unwrap());
    let download = Download { store, ..download };
    let checked = download.check(&pipeline(|_| ()));
    let expected: Vec<bool> = (0..41).map(|piece| (1..10).contains(&piece) || piece == 40).collect();
    assert_eq!(checked.good, expected);
}

#[test]
fn a_check_of_some_pieces_leaves_the_others_alone() {
    let download = Download::new(some_files(), Options::default());
    download.torrent.write_all(&download.store);
    let pipeline = pipeline(|_| ());
    let some: Vec<_> = download.torrent.geometry.iter().filter(|piece| piece.get() % 2 == 0).collect();
    let (job, outcome) = download.check_job(some);
    pipeline.check(job);
    let good = outcome.recv_timeout(Duration::from_secs(60)).unwrap().good;
    assert!(good.iter().enumerate().all(|(piece, &good)| good == (piece % 2 == 0)));

    let (job, outcome) = download.check_job(Vec::new());
    pipeline.check(job);
    assert!(outcome.recv_timeout(Duration::from_secs(60)).unwrap().good.iter().all(|&good| !good));
}

#[test]
fn progress_counts_up_to_the_end() {
    let download = Download::new(some_files(), Options::default());
    download.torrent.write_all(&download.store);
    let pipeline = pipeline(|_| ());
    let seen: Arc<Mutex<Vec<CheckProgress>>> = Arc::default();
    let (mut job, outcome) = download.check_job(download.torrent.geometry.iter().collect());
    let see = Arc::clone(&seen);
    job.progress = Box::new(move |progress| see.lock().unwrap().push(progress));
    let handle = pipeline.check(job);
    outcome.recv_timeout(Duration::from_secs(60)).unwrap();
    let pieces = download.torrent.geometry.pieces() as usize;
    let end = CheckProgress { checked: pieces, good: pieces, pieces };
    assert_eq!(handle.progress(), end);
    assert!(seen.lock().unwrap().contains(&end));
}

#[test]
fn a_cancelled_check_ends_and_says_so() {
    let files = vec![file("a", 200 * 65_536)];
    let download = Download::new(Torrent::new(files, 65_536, 1), Options::default());
    download.torrent.write_all(&download.store);
    let pipeline = pipeline(|_| ());
    let (mut job, outcome) = download.check_job(download.torrent.geometry.iter().collect());
    let (handle_for, handle_in) = mpsc::sync_channel::<quelea_storage::CheckHandle>(1);
    let handle_in = Mutex::new(Some(handle_in));
    job.progress = Box::new(move |_| {
        if let Some(handle) = handle_in.lock().unwrap().take() {
            handle.recv().unwrap().cancel();
        }
    });
    handle_for.send(pipeline.check(job)).unwrap();
    let outcome = outcome.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(outcome.cancelled);
    assert_eq!(outcome.good.len(), 200);
}

#[test]
fn dropping_the_pipeline_ends_its_checks() {
    let download = Download::new(Torrent::new(vec![file("a", 200 * 65_536)], 65_536, 1), Options::default());
    download.torrent.write_all(&download.store);
    let pipeline = pipeline(|_| ());
    let (job, outcome) = download.check_job(download.torrent.geometry.iter().collect());
    pipeline.check(job);
    drop(pipeline);
    outcome.try_recv().expect("told before the threads ended");
}

#[test]
fn pieces_that_come_in_during_a_check_are_not_held_up() {
    let download = Download::new(Torrent::new(vec![file("a", 100 * 65_536)], 65_536, 1), Options::default());
    // One lane, which would wait for company forever if it had nothing else to do.
    let pipeline = Arc::new(pipeline(|config| {
        config.linger = Duration::from_secs(100_000);
        config.hash_lanes = NonZeroUsize::MIN;
    }));
    let (mut job, outcome) = download.check_job(download.torrent.geometry.iter().collect());
    let submit = Arc::downgrade(&pipeline);
    let jobs: Vec<_> =
        download.torrent.geometry.iter().take(5).map(|piece| download.job(piece, None)).collect();
    let jobs = Mutex::new(jobs);
    job.progress = Box::new(move |_| {
        let pipeline = submit.upgrade().unwrap();
        jobs.lock().unwrap().drain(..).for_each(|job| pipeline.submit(job));
    });
    pipeline.check(job);
    for _ in 0..5 {
        assert!(matches!(download.outcome().verdict, PieceVerdict::Written));
    }
    outcome.recv_timeout(Duration::from_secs(60)).unwrap();
}
