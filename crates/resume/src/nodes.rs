//! The nodes of the DHT that an earlier run knew, and the ids that it had: a small file beside the database.
//!
//! One session at a time owns it: two with the same ids would be taken for one node that moves. Others read the nodes,
//! and write nothing. The file is replaced as a whole, so that it is the old or the new one whenever power fails; one
//! that cannot be read is put aside.

use super::database::create_folder;
use quelea_bencode::{Limits, Value};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

const NAME: &str = "dht.nodes";
const FRESH: &str = "dht.nodes.new";
const DAMAGED: &str = "dht.nodes.damaged";
const LOCK: &str = "dht.lock";
/// Nodes that are read.
const MAX_NODES: usize = 1_000;
/// Far longer than what is written.
const MAX_LENGTH: u64 = 256 << 10;

/// What a node of the DHT keeps between two runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedNodes {
    /// Its ids, IPv4 first.
    pub ids: [Option<[u8; 20]>; 2],
    /// Nodes that answered lately.
    pub nodes: Vec<([u8; 20], SocketAddr)>,
}

/// The file, and the right to write it if no other session has that.
#[derive(Debug)]
pub struct NodeFile {
    directory: PathBuf,
    /// Keeps the lock; `None` where another session has it.
    lock: Option<File>,
}

impl NodeFile {
    /// Opens the file in a state directory and reads what is there. `warn` is told of one that is damaged.
    ///
    /// # Errors
    /// Those of the system, but for a file that is not there.
    pub fn open(directory: &Path, warn: impl FnOnce(String)) -> io::Result<(Self, SavedNodes)> {
        create_folder(directory)?;
        let lock = File::options().write(true).create(true).truncate(false).open(directory.join(LOCK))?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let file = Self { directory: directory.to_owned(), lock };
        let mut saved = file.read(warn)?;
        if file.lock.is_none() {
            saved.ids = [None, None];
        }
        Ok((file, saved))
    }

    fn read(&self, warn: impl FnOnce(String)) -> io::Result<SavedNodes> {
        let path = self.directory.join(NAME);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_LENGTH).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SavedNodes::default()),
            Err(error) => return Err(error),
        };
        match decode(&bytes) {
            Some(saved) => Ok(saved),
            None if self.lock.is_none() => Ok(SavedNodes::default()),
            None => {
                let aside = self.directory.join(DAMAGED);
                std::fs::rename(&path, &aside)?;
                warn(format!(
                    "{} is damaged and was put aside as {}; nodes of the DHT are looked for anew",
                    path.display(),
                    aside.display()
                ));
                Ok(SavedNodes::default())
            }
        }
    }

    /// Replaces what is in the file, where this session may write it.
    ///
    /// # Errors
    /// Those of the system; the file is then as it was.
    pub fn save(&self, saved: &SavedNodes) -> io::Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let fresh = self.directory.join(FRESH);
        let mut file = File::create(&fresh)?;
        file.write_all(&encode(saved))?;
        file.sync_data()?;
        std::fs::rename(&fresh, self.directory.join(NAME))
    }
}

/// `{"id": 20 bytes, "id6": 20 bytes, "nodes": 26 bytes a node, "nodes6": 38 bytes a node}`, as a packet has them
/// (BEP 5, 32).
fn encode(saved: &SavedNodes) -> Vec<u8> {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for (id, address) in &saved.nodes {
        let list = if address.is_ipv4() { &mut four } else { &mut six };
        list.extend(id);
        match address.ip() {
            IpAddr::V4(ip) => list.extend(ip.octets()),
            IpAddr::V6(ip) => list.extend(ip.octets()),
        }
        list.extend(address.port().to_be_bytes());
    }
    let mut out = Vec::new();
    out.push(b'd');
    let mut entry = |key: &str, value: &[u8]| {
        out.extend(format!("{}:{key}{}:", key.len(), value.len()).as_bytes());
        out.extend(value);
    };
    for (key, id) in [("id", saved.ids[0]), ("id6", saved.ids[1])] {
        if let Some(id) = id {
            entry(key, &id);
        }
    }
    entry("nodes", &four);
    entry("nodes6", &six);
    out.push(b'e');
    out
}

fn decode(bytes: &[u8]) -> Option<SavedNodes> {
    let value = quelea_bencode::parse(bytes, Limits { depth: 4, items: 16 }).ok()?;
    value.as_dict()?;
    let id = |key: &[u8]| match value.get(key) {
        None => Some(None),
        Some(id) => Some(Some(<[u8; 20]>::try_from(id.as_bytes()?).ok()?)),
    };
    let list = |key: &[u8], length: usize| {
        let list = value.get(key).and_then(Value::as_bytes)?;
        list.len().is_multiple_of(length).then_some(list)
    };
    let mut nodes = Vec::new();
    for (key, length) in [(&b"nodes"[..], 26), (b"nodes6", 38)] {
        for node in list(key, length)?.chunks_exact(length) {
            let (id, rest) = node.split_first_chunk::<20>()?;
            let (ip, port) = rest.split_last_chunk::<2>()?;
            let ip = match ip.len() {
                4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
                _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
            };
            nodes.push((*id, SocketAddr::new(ip, u16::from_be_bytes(*port))));
        }
    }
    nodes.truncate(MAX_NODES);
    Some(SavedNodes { ids: [id(b"id")?, id(b"id6")?], nodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> SavedNodes {
        let nodes = [([1; 20], "192.0.2.1:6881"), ([2; 20], "[2001:db8::1]:1"), ([3; 20], "192.0.2.2:2")];
        SavedNodes {
            ids: [Some([7; 20]), None],
            nodes: nodes.map(|(id, address)| (id, address.parse().unwrap())).to_vec(),
        }
    }

    fn open(directory: &Path) -> (NodeFile, SavedNodes, Vec<String>) {
        let mut told = Vec::new();
        let (file, saved) = NodeFile::open(directory, |message| told.push(message)).unwrap();
        (file, saved, told)
    }

    #[test]
    fn what_is_saved_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        let (file, saved, _) = open(&place);
        assert_eq!(saved, SavedNodes::default());
        file.save(&some()).unwrap();
        drop(file);
        let (_, mut saved, told) = open(&place);
        saved.nodes.sort_unstable();
        assert_eq!((saved, told), (some(), Vec::new()));
    }

    #[test]
    fn two_sessions_have_no_id_in_common_and_one_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _, _) = open(folder.path());
        first.save(&some()).unwrap();
        let (second, saved, _) = open(folder.path());
        assert_eq!(saved.ids, [None, None]);
        assert_eq!(saved.nodes.len(), 3);
        second.save(&SavedNodes::default()).unwrap();
        drop((first, second));
        assert_eq!(open(folder.path()).1.nodes.len(), 3);
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_told() {
        let whole = encode(&some());
        let folder = tempfile::tempdir().unwrap();
        for damaged in [&whole[..whole.len() - 1], b"", b"le", b"d5:nodes3:abc6:nodes60:e"] {
            std::fs::write(folder.path().join(NAME), damaged).unwrap();
            let (file, saved, told) = open(folder.path());
            assert_eq!(saved, SavedNodes::default());
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(std::fs::read(folder.path().join(DAMAGED)).unwrap(), damaged);
            file.save(&some()).unwrap();
            drop(file);
            assert_eq!(open(folder.path()).1.nodes.len(), 3);
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = encode(&some());
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..5_000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            let _ = decode(&bytes);
        }
    }
}
