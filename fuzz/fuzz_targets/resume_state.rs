//! A state that is not what was written: a database whose bytes changed is opened or put aside, and whatever is read
//! from one, no piece is trusted that was not good, and saved blocks upset no torrent.
#![no_main]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use quelea_block::Pool;
use quelea_metainfo::geometry::{Geometry, PieceIndex};
use quelea_resume::database::{Change, Database, NAME, Name, Saved};
use quelea_resume::{Plan, SavedBlock};
use quelea_storage::file_layer::Stamp;
use quelea_storage::{FileSpec, Holder, Options, Store};
use quelea_swarm::torrent::{Config, Torrent};
use quelea_time::Time;
use quelea_wire::{Bitfield, PeerId};

/// Bytes of the two files, which make twenty pieces.
const LENGTHS: [u64; 2] = [300_000, 355_000];
const PIECE: u32 = 32_768;
const INFO_HASH: [u8; 20] = [7; 20];

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    if kind % 2 == 0 { WORLD.read_damaged(rest) } else { WORLD.read_anything(&mut Input(rest)) }
});

/// What is left of the fuzzer's bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u32 {
        self.bytes(4).iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// A torrent whose files are all there, and the database that knows of half of its pieces.
struct World {
    folder: PathBuf,
    store: Arc<Store>,
    geometry: Geometry,
    name: Name,
    /// How the files stand.
    stamps: Vec<(i64, Stamp)>,
    have: Vec<u8>,
    database: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let folder = own_folder();
        let files = LENGTHS.iter().zip(["one", "two"]).map(|(&length, name)| {
            fs::write(folder.join(name), vec![1; usize::try_from(length).unwrap()]).unwrap();
            FileSpec { path: name.into(), length, pad: false }
        });
        let geometry = Geometry::new(LENGTHS.iter().sum(), PIECE).unwrap();
        let store = Arc::new(Store::open(&folder, files.collect(), geometry, Options::default()).unwrap());
        let holders: Vec<Holder> = store.holders().collect();
        let stamps: Vec<(i64, Stamp)> =
            (0..).zip(holders.iter().map(|holder| store.stamp(*holder).unwrap().unwrap())).collect();
        let name = Name { info_hash: INFO_HASH, directory: b"/downloads".to_vec() };
        let mut have = Bitfield::none(geometry.pieces());
        geometry.iter().step_by(2).for_each(|piece| _ = have.set(piece));
        let mut world = Self {
            folder,
            store,
            geometry,
            name,
            stamps,
            have: have.as_wire().to_vec(),
            database: Vec::new(),
        };
        let mut database = Database::open(&world.folder, &mut Vec::new()).unwrap();
        world.save(&mut database, true);
        drop(database);
        world.database = fs::read(world.folder.join(NAME)).unwrap();
        world
    }

    fn save(&self, database: &mut Database, clean: bool) {
        let stamps: Vec<(i64, Option<Stamp>)> =
            self.stamps.iter().map(|(number, stamp)| (*number, Some(*stamp))).collect();
        let mut bytes = Pool::new(0).take(1_000);
        bytes.fill(9);
        let change = Change {
            have: &self.have,
            wanted: &[0xc0],
            clean,
            stamps: &stamps,
            downloaded: 5,
            uploaded: 6,
            blocks: Some(&[SavedBlock { piece: 1, begin: 0, bytes }]),
        };
        database.save(&self.name, &change).unwrap();
    }

    /// Opens a database some of whose bytes changed, or that was cut off.
    fn read_damaged(&self, data: &[u8]) {
        let mut bytes = self.database.clone();
        for edit in data.chunks(4) {
            match *edit {
                [high, low, to, 0..192] => {
                    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
                    bytes[at] = to;
                }
                // The end of a page, where the rows begin; and the first bytes, which say how to read it.
                [page, low, to, 192..248] => {
                    let at = (usize::from(page) * 4_096 + 4_095).saturating_sub(low.into()) % bytes.len();
                    bytes[at] = to;
                }
                [at, _, to, _] => bytes[usize::from(at) % 128] = to,
                _ => {
                    let kept = bytes.len() * usize::from(edit[0]) / 255;
                    bytes.truncate(kept.max(1));
                }
            }
        }
        let path = self.folder.join(NAME);
        fs::write(&path, &bytes).unwrap();
        let mut warnings = Vec::new();
        let mut database = Database::open(&self.folder, &mut warnings).unwrap();
        let aside = self.folder.join(format!("{NAME}.aside-1"));
        if warnings.is_empty() {
            assert!(!aside.exists());
        } else {
            assert!(fs::read(&aside).unwrap() == bytes, "what was put aside is not what was there");
            fs::remove_file(aside).unwrap();
        }
        if let Ok(Some(saved)) = database.load(&self.name) {
            assert_eq!((&saved.have, saved.clean), (&self.have, true), "a piece is called good that was not");
            self.check_plan(&saved);
        }
        if let Ok(blocks) = database.load_blocks(&self.name) {
            self.restore(blocks);
        }
        if !warnings.is_empty() {
            self.save(&mut database, false);
            let saved = database.load(&self.name).unwrap().unwrap();
            assert_eq!((saved.have, saved.clean), (self.have.clone(), false));
        }
        drop(database);
        for file in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(self.folder.join(format!("{NAME}{file}")));
        }
    }

    /// A state with any fields.
    fn read_anything(&self, input: &mut Input<'_>) {
        let mut stamps = HashMap::new();
        for _ in 0..input.byte() % 5 {
            let number = i64::from(input.byte().cast_signed());
            let stamp = match (self.stamps.get(usize::from(input.byte())), input.byte()) {
                (Some((_, stamp)), 0..128) => *stamp,
                (Some((_, stamp)), _) => Stamp { length: input.number().into(), ..*stamp },
                (None, _) => Stamp { length: input.number().into(), modified: -1, changed: i64::MAX },
            };
            stamps.insert(number, stamp);
        }
        let clean = input.byte() & 1 == 0;
        let length = usize::from(input.byte()) % 8;
        let have = input.bytes(length).to_vec();
        self.check_plan(&Saved { have, clean, stamps, downloaded: u64::MAX, uploaded: 0 });
        let blocks = (0..input.byte() % 32).map(|_| {
            let (piece, begin) = (u32::from(input.byte()) % 24, u32::from(input.byte()) % 5 * 8_192);
            let bytes = match input.byte() {
                0..128 => vec![1; 16_384],
                length => vec![1; usize::from(length) * 16],
            };
            let odd = input.byte();
            SavedBlock { piece, begin: if odd < 250 { begin } else { input.number() }, bytes }
        });
        self.restore(blocks.collect());
    }

    /// What is trusted is said to be good, and lies in files that stand as is said.
    fn check_plan(&self, saved: &Saved) {
        let plan = Plan::new(Some(saved), &self.store);
        let have = Bitfield::from_wire(&saved.have, self.geometry.pieces()).ok();
        let checked = |piece: PieceIndex| plan.check.contains(&piece);
        for piece in self.geometry.iter() {
            let good = have.as_ref().is_some_and(|have| have.has(piece));
            let stands = self.store.held(piece).all(|held| {
                let (number, stamp) = self.stamps[held.file.at()];
                saved.stamps.get(&number) == Some(&stamp)
            });
            assert_eq!(plan.trusted.has(piece), good && stands, "{piece}");
            assert!(!(plan.trusted.has(piece) && checked(piece)), "{piece}");
            assert!(
                plan.trusted.has(piece) || checked(piece) || (!good && saved.clean),
                "{piece} is forgotten"
            );
        }
    }

    /// Brings blocks back as a session does.
    fn restore(&self, blocks: Vec<SavedBlock>) {
        let all = Bitfield::all(self.geometry.pieces());
        let config = Config {
            geometry: self.geometry,
            info_hash: INFO_HASH,
            peer_id: PeerId([1; 20]),
            client: String::new(),
            port: None,
            metadata: [].into(),
            private: false,
            pex: false,
            wanted: all,
            have: Bitfield::none(self.geometry.pieces()),
            max_peers: 10,
            max_half_open: 1,
            upload_slots: 1,
            open_pieces: 4,
            seed: 1,
        };
        let mut torrent = Torrent::new(Time::ZERO, config);
        for SavedBlock { piece, begin, bytes } in blocks {
            if let Some(span) = self.geometry.span(piece, begin, u32::try_from(bytes.len()).unwrap()) {
                torrent.restore_block(span, bytes);
            }
        }
        torrent.check_invariants().unwrap();
        while torrent.poll_output(Time::ZERO).is_some() {}
        for (span, bytes) in torrent.take_blocks() {
            assert_eq!(span.length as usize, bytes.len());
        }
    }
}

/// A folder of this process, in memory where that is possible. Folders of processes that are gone are removed.
fn own_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let prefix = "quelea-fuzz-resume-";
    for entry in fs::read_dir(&above).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        if let Some(process) = name.strip_prefix(prefix)
            && !Path::new("/proc").join(process).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = above.join(format!("{prefix}{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
