//! What it costs to verify and write pieces, and to check them again, for several ways of making batches.
//!
//! `cargo run --release -p quelea-storage --example pipeline -- DIRECTORY [GIB] [PIECE_KIB] [MIB_PER_S]`
//!
//! One thread copies blocks into pooled buffers, as a connection would, and submits pieces; at most 64 MiB are
//! on their way at a time. CPU seconds are those of the whole process, the copying included.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use quelea_block::{BLOCK_LENGTH, Pool};
use quelea_metainfo::geometry::Geometry;
use quelea_storage::{CheckJob, Config, FileSpec, Options, PieceJob, PieceVerdict, Pipeline, Store};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, otherwise: u64| arguments.get(at).map_or(otherwise, |text| text.parse().unwrap());
    let directory = Path::new(arguments.first().map_or(".", String::as_str));
    let total = number(1, 1) << 30;
    let piece_length = u32::try_from(number(2, 1_024) << 10).unwrap();
    let rate = number(3, 0) << 20;
    let geometry = Geometry::new(total, piece_length).unwrap();

    let kinds = 64;
    let pieces: Vec<Vec<u8>> = (0..kinds)
        .map(|seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(|| random.u8(..)).take(piece_length as usize).collect()
        })
        .collect();
    let hashes: Arc<Vec<[u8; 20]>> =
        Arc::new(pieces.iter().map(|piece| quelea_digest::sha1(piece)).collect());

    println!("{:>24} {:>9} {:>9} {:>12} {:>14}", "batch", "wall s", "GB/s", "CPU s/GiB", "check CPU s/GiB");
    let at_once = Config { batch_pieces: 1, ..Config::default() };
    let batches = [2, 4, 8, 16, 32].map(|mib| {
        let config = Config { batch_bytes: mib << 20, ..Config::default() };
        (format!("{mib} MiB"), config)
    });
    let batches = [("one by one".to_owned(), at_once)].into_iter().chain(batches);
    for (name, config) in batches {
        let root = directory.join("quelea-pipeline-bench");
        let _ = std::fs::remove_dir_all(&root);
        let files = vec![FileSpec { path: "file".into(), length: total, pad: false }];
        let store = Arc::new(Store::open(&root, files, geometry, Options::default()).unwrap());
        let pipeline = Pipeline::start(&config).unwrap();
        let pool = Pool::new(64 << 20);
        let free = Arc::new((Mutex::new(64usize << 20), Condvar::new()));

        let (cpu, start) = (cpu_seconds(), Instant::now());
        for piece in geometry.iter() {
            let bytes = &pieces[piece.at() % kinds as usize];
            let length = geometry.length_of(piece) as usize;
            if rate > 0 {
                let due = Duration::from_secs_f64(geometry.offset_of(piece) as f64 / rate as f64);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
            {
                let (budget, changed) = &*free;
                let mut left = changed.wait_while(budget.lock().unwrap(), |left| *left < length).unwrap();
                *left -= length;
            }
            let blocks = bytes[..length]
                .chunks(BLOCK_LENGTH)
                .map(|bytes| {
                    let mut block = pool.take(bytes.len());
                    block.copy_from_slice(bytes);
                    block
                })
                .collect();
            let free = Arc::clone(&free);
            pipeline.submit(PieceJob {
                store: Arc::clone(&store),
                piece,
                blocks,
                expected: hashes[piece.at() % kinds as usize],
                digest_blocks: false,
                done: Box::new(move |outcome| {
                    assert!(matches!(outcome.verdict, PieceVerdict::Written), "{outcome:?}");
                    *free.0.lock().unwrap() += length;
                    free.1.notify_one();
                }),
            });
        }
        drop(free.1.wait_while(free.0.lock().unwrap(), |left| *left < 64 << 20).unwrap());
        let (cpu, wall) = (cpu_seconds() - cpu, start.elapsed().as_secs_f64());

        let check_cpu = cpu_seconds();
        let (done, checked) = mpsc::sync_channel(1);
        let hashes = Arc::clone(&hashes);
        pipeline.check(CheckJob {
            store: Arc::clone(&store),
            pieces: geometry.iter().collect(),
            expected: Box::new(move |piece| hashes[piece.at() % kinds as usize]),
            progress: Box::new(|_| ()),
            done: Box::new(move |outcome| done.send(outcome).unwrap()),
        });
        assert!(checked.recv().unwrap().good.iter().all(|&good| good));
        let check_cpu = cpu_seconds() - check_cpu;

        let gib = total as f64 / f64::from(1 << 30);
        println!(
            "{name:>24} {wall:>9.2} {:>9.2} {:>12.3} {:>14.3}",
            total as f64 / wall / 1e9,
            cpu / gib,
            check_cpu / gib
        );
        drop(pipeline);
        std::fs::remove_dir_all(&root).unwrap();
    }
}

/// User and system time of this process, from the fields 14 and 15 of its `stat`, in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
