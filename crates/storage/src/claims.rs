//! Registry of the files that each store of a session works on; no store writes a file that another one reads or writes.
//!
//! A store claims its wanted files when it opens and states a purpose: checking, reading or writing. Readers share a file,
//! a writer has it exclusively, and a check gives way to both. A file is identified by the device and inode of the
//! innermost existing folder above it plus the rest of its path, and by its own inode if it exists. Links, bind mounts,
//! hard links and, on file systems that fold case, names that differ in case alone therefore lead to the same claim.
//!
//! The locks of `store::rights` do the same between processes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A device and an inode on it.
pub(crate) type Inode = (u64, u64);

/// An existing folder and a path below it.
pub(crate) type Below = (Inode, Vec<u8>);

/// The claims of a session's stores. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    registry: Arc<Mutex<Registry>>,
}

/// The use that a store makes of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Hashing; whether reading or writing follows is not known yet.
    Checking,
    Reading,
    Writing,
}

/// A file, or a folder above one, with everything that identifies it.
pub(crate) struct Claimed {
    /// The path that errors name.
    pub(crate) path: PathBuf,
    pub(crate) is_folder: bool,
    /// The existing folders above it, innermost first, each with the path from there.
    pub(crate) below: Arc<[Below]>,
    /// Its own name, in the form in which names are compared.
    pub(crate) name: Vec<u8>,
    /// The file itself, if it exists and has several names.
    pub(crate) inode: Option<Inode>,
}

/// A conflict with another claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) path: PathBuf,
    /// The name of the other claim's torrent.
    pub(crate) owner: Arc<str>,
    /// Whether the other store only reads the file.
    pub(crate) reads: bool,
}

/// A store's claim; dropping it gives the files up.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    id: u64,
}

#[derive(Debug, Default)]
struct Registry {
    hasher: RandomState,
    next: u64,
    /// The digest of each key with the claim that holds it. A torrent may have 100,000 files, so keys are not kept whole.
    keys: BTreeSet<(u64, u64)>,
    claims: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    owner: Arc<str>,
    purpose: Purpose,
    keys: Vec<u64>,
    /// The other claims that share a file with this one, and that file.
    overlaps: Vec<(u64, PathBuf)>,
}

/// The kind of a key.
#[derive(Hash, Clone, Copy)]
enum Kind {
    File,
    Folder,
    Inode,
}

impl Claims {
    /// Claims files for checking. Files that the claim `own` already holds never conflict.
    pub(crate) fn enter(
        &self,
        owner: &Arc<str>,
        claimed: &[Claimed],
        own: Option<&Claim>,
    ) -> Result<Claim, Clash> {
        let mut registry = self.lock();
        let own = own.map(|own| own.id);
        let mut overlaps: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for one in claimed {
            let path = |inner: &[u8]| [inner, &one.name[..]].join(&b'/');
            for (inode, inner) in &*one.below {
                let rest = path(inner);
                let others = registry.holders(&(Kind::File, inode, &rest));
                let in_the_way: Vec<u64> = if one.is_folder {
                    others.clone()
                } else {
                    registry.holders(&(Kind::Folder, inode, &rest))
                };
                if let Some(other) = in_the_way.iter().find(|other| Some(**other) != own) {
                    return Err(registry.clash(*other, one.path.clone()));
                }
                for other in others.into_iter().filter(|other| Some(*other) != own) {
                    overlaps.entry(other).or_insert_with(|| one.path.clone());
                }
            }
            if let Some(inode) = one.inode {
                for other in registry.holders(&(Kind::Inode, inode)) {
                    if Some(other) != own {
                        overlaps.entry(other).or_insert_with(|| one.path.clone());
                    }
                }
            }
        }
        let overlaps: Vec<(u64, PathBuf)> = overlaps.into_iter().collect();
        registry.may(&overlaps, Purpose::Checking)?;
        registry.next += 1;
        let id = registry.next;
        let mut keys = Vec::with_capacity(claimed.len());
        for one in claimed {
            if let Some((inode, inner)) = one.below.first() {
                let kind = if one.is_folder { Kind::Folder } else { Kind::File };
                keys.push(registry.digest(&(kind, inode, &[&inner[..], &one.name[..]].join(&b'/'))));
            }
            keys.extend(one.inode.map(|inode| registry.digest(&(Kind::Inode, inode))));
        }
        registry.keys.extend(keys.iter().map(|key| (*key, id)));
        for (other, path) in &overlaps {
            if let Some(other) = registry.claims.get_mut(other) {
                other.overlaps.push((id, path.clone()));
            }
        }
        let entry = Entry { owner: Arc::clone(owner), purpose: Purpose::Checking, keys, overlaps };
        registry.claims.insert(id, entry);
        Ok(Claim { claims: self.clone(), id })
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Changes the purpose of the claim.
    pub(crate) fn set_purpose(&self, purpose: Purpose) -> Result<(), Clash> {
        let mut registry = self.claims.lock();
        if let Some(entry) = registry.claims.get(&self.id) {
            registry.may(&entry.overlaps, purpose)?;
        }
        if let Some(entry) = registry.claims.get_mut(&self.id) {
            entry.purpose = purpose;
        }
        Ok(())
    }

    /// Fails if another claim reads or writes one of the files.
    pub(crate) fn make_sure_it_is_alone(&self) -> Result<(), Clash> {
        let registry = self.claims.lock();
        registry.claims.get(&self.id).map_or(Ok(()), |entry| registry.may(&entry.overlaps, Purpose::Writing))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut registry = self.claims.lock();
        let Some(entry) = registry.claims.remove(&self.id) else { return };
        for key in entry.keys {
            registry.keys.remove(&(key, self.id));
        }
        for (other, _) in entry.overlaps {
            if let Some(other) = registry.claims.get_mut(&other) {
                other.overlaps.retain(|(id, _)| *id != self.id);
            }
        }
    }
}

impl Registry {
    fn digest(&self, key: &impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The claims with this key.
    fn holders(&self, key: &impl std::hash::Hash) -> Vec<u64> {
        let key = self.digest(key);
        self.keys.range((key, 0)..=(key, u64::MAX)).map(|(_, id)| *id).collect()
    }

    /// Fails if `purpose` conflicts with one of the claims that share files.
    fn may(&self, overlaps: &[(u64, PathBuf)], purpose: Purpose) -> Result<(), Clash> {
        for (other, path) in overlaps {
            let Some(entry) = self.claims.get(other) else { continue };
            let agree = match (purpose, entry.purpose) {
                (Purpose::Writing, Purpose::Reading) | (_, Purpose::Writing) => false,
                (Purpose::Checking | Purpose::Reading, Purpose::Reading) | (_, Purpose::Checking) => true,
            };
            if !agree {
                return Err(self.clash(*other, path.clone()));
            }
        }
        Ok(())
    }

    fn clash(&self, other: u64, path: PathBuf) -> Clash {
        let entry = self.claims.get(&other);
        let owner = entry.map_or_else(|| Arc::from(""), |entry| Arc::clone(&entry.owner));
        Clash { path, owner, reads: entry.is_some_and(|entry| entry.purpose == Purpose::Reading) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the existing folder with this inode.
    fn file(folder: u64, name: &str) -> Claimed {
        below(&[(folder, "")], name)
    }

    fn below(folders: &[(u64, &str)], name: &str) -> Claimed {
        Claimed {
            path: name.into(),
            is_folder: false,
            below: folders.iter().map(|(inode, rest)| ((1, *inode), rest.as_bytes().to_vec())).collect(),
            name: name.as_bytes().to_vec(),
            inode: None,
        }
    }

    fn enter(claims: &Claims, owner: &str, claimed: &[Claimed]) -> Result<Claim, Clash> {
        claims.enter(&owner.into(), claimed, None)
    }

    #[test]
    fn those_who_read_share_and_who_writes_is_alone() {
        let claims = Claims::default();
        let a = enter(&claims, "a", &[file(1, "x"), file(1, "y")]).unwrap();
        let b = enter(&claims, "b", &[file(1, "y")]).unwrap();
        a.set_purpose(Purpose::Reading).unwrap();
        b.set_purpose(Purpose::Reading).unwrap();
        let clash = b.set_purpose(Purpose::Writing).unwrap_err();
        assert_eq!(clash, Clash { path: "y".into(), owner: "a".into(), reads: true });
        b.make_sure_it_is_alone().unwrap_err();
        drop(a);
        b.set_purpose(Purpose::Writing).unwrap();
        assert!(!enter(&claims, "c", &[file(1, "y")]).unwrap_err().reads);
        enter(&claims, "c", &[file(1, "x"), file(2, "y")]).unwrap();
        drop(b);
        enter(&claims, "c", &[file(1, "y")]).unwrap();
        assert!(claims.lock().keys.is_empty());
    }

    #[test]
    fn of_those_who_check_the_first_to_write_has_it() {
        let claims = Claims::default();
        let a = enter(&claims, "a", &[file(1, "x")]).unwrap();
        let b = enter(&claims, "b", &[file(1, "x")]).unwrap();
        b.set_purpose(Purpose::Writing).unwrap();
        a.set_purpose(Purpose::Writing).unwrap_err();
        a.set_purpose(Purpose::Reading).unwrap_err();
    }

    #[test]
    fn a_folder_that_was_made_meanwhile_hides_nothing() {
        let claims = Claims::default();
        let a = enter(&claims, "a", &[below(&[(1, "new")], "x")]).unwrap();
        a.set_purpose(Purpose::Writing).unwrap();
        enter(&claims, "b", &[below(&[(2, ""), (1, "new")], "x")]).unwrap_err();
        enter(&claims, "b", &[below(&[(2, ""), (1, "other")], "x")]).unwrap();
    }

    #[test]
    fn a_file_and_a_folder_of_one_name_clash_at_once() {
        let folder = || Claimed { is_folder: true, ..file(1, "n") };
        let claims = Claims::default();
        let a = enter(&claims, "a", &[file(1, "n")]).unwrap();
        assert_eq!(&*enter(&claims, "b", &[folder()]).unwrap_err().owner, "a");
        drop(a);
        let _b = enter(&claims, "b", &[folder()]).unwrap();
        enter(&claims, "a", &[file(1, "n")]).unwrap_err();
        enter(&claims, "c", &[folder()]).unwrap();
    }

    #[test]
    fn a_hard_link_is_the_same_file() {
        let linked = |name| Claimed { inode: Some((1, 9)), ..file(1, name) };
        let claims = Claims::default();
        let a = enter(&claims, "a", &[linked("x")]).unwrap();
        a.set_purpose(Purpose::Writing).unwrap();
        enter(&claims, "b", &[linked("y")]).unwrap_err();
    }

    #[test]
    fn what_a_store_has_already_is_no_obstacle_to_itself() {
        let claims = Claims::default();
        let a = enter(&claims, "a", &[file(1, "x")]).unwrap();
        a.set_purpose(Purpose::Writing).unwrap();
        claims.enter(&"a".into(), &[file(1, "x"), file(1, "y")], Some(&a)).unwrap();
    }
}
