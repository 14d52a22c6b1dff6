//! Items that the network stores for others (BEP 44): values under their hash, and values under a key that only the
//! key's owner can change.

use crate::Id;
use crate::packet::{MAX_SALT, MAX_VALUE, Signed};
use alloc::vec::Vec;
use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use quelea_digest::sha1;

/// Who owns an item that may change, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The owner's Ed25519 key.
    pub key: [u8; 32],
    /// Distinguishes the owner's items; at most 64 bytes.
    pub salt: Vec<u8>,
    /// Grows with each change.
    pub sequence: i64,
    /// Of salt, sequence number and value.
    pub signature: [u8; 64],
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its value as it is bencoded; at most 1000 bytes.
    pub value: Vec<u8>,
    /// Its owner; `None` for one that never changes.
    pub owner: Option<Ownership>,
}

/// Why an item cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// The value is longer than 1000 bytes.
    ValueTooBig,
    /// The value is not bencoded, or has a dictionary whose keys are not in order.
    NotBencoded,
    /// The salt is longer than 64 bytes.
    SaltTooBig,
    /// The sequence number is negative.
    Sequence,
    /// The signature is not the owner's.
    Signature,
}

impl Item {
    /// An item that never changes.
    ///
    /// # Errors
    /// [`Invalid::ValueTooBig`], [`Invalid::NotBencoded`].
    pub fn fixed(value: Vec<u8>) -> Result<Self, Invalid> {
        check_value(&value)?;
        Ok(Self { value, owner: None })
    }

    /// A change of the item that belongs to the key made from `seed`.
    ///
    /// # Errors
    /// [`Invalid`], all but a wrong signature.
    pub fn sign(seed: [u8; 32], salt: Vec<u8>, sequence: i64, value: Vec<u8>) -> Result<Self, Invalid> {
        check_value(&value)?;
        if salt.len() > MAX_SALT {
            return Err(Invalid::SaltTooBig);
        }
        if sequence < 0 {
            return Err(Invalid::Sequence);
        }
        let signature = sign(seed, &signed_bytes(&salt, sequence, &value));
        let owner = Ownership { key: public_key(seed), salt, sequence, signature };
        Ok(Self { value, owner: Some(owner) })
    }

    /// An item that somebody sent, if it is one that may stand under `target`.
    ///
    /// # Errors
    /// [`Invalid`]; [`Invalid::Signature`] also where the target is another.
    pub fn received(target: &Id, value: &[u8], signed: Option<Signed<'_>>) -> Result<Self, Invalid> {
        check_value(value)?;
        let item = match signed {
            None => Self { value: value.to_vec(), owner: None },
            Some(signed) => {
                if signed.salt.len() > MAX_SALT {
                    return Err(Invalid::SaltTooBig);
                }
                if signed.sequence < 0 {
                    return Err(Invalid::Sequence);
                }
                if !is_signed(&signed, value) {
                    return Err(Invalid::Signature);
                }
                let owner = Ownership {
                    key: *signed.key,
                    salt: signed.salt.to_vec(),
                    sequence: signed.sequence,
                    signature: *signed.signature,
                };
                Self { value: value.to_vec(), owner: Some(owner) }
            }
        };
        if item.target() == *target { Ok(item) } else { Err(Invalid::Signature) }
    }

    /// Where it is stored.
    pub fn target(&self) -> Id {
        match &self.owner {
            None => Id(sha1(&self.value)),
            Some(owner) => target_of(&owner.key, &owner.salt),
        }
    }

    /// Its sequence number; 0 for one that never changes.
    pub fn sequence(&self) -> i64 {
        self.owner.as_ref().map_or(0, |owner| owner.sequence)
    }

    /// Its owner as a packet holds it.
    pub fn signed(&self) -> Option<Signed<'_>> {
        self.owner.as_ref().map(|owner| Signed {
            key: &owner.key,
            salt: &owner.salt,
            sequence: owner.sequence,
            signature: &owner.signature,
        })
    }
}

/// Where the items of a key with this salt are stored.
pub fn target_of(key: &[u8; 32], salt: &[u8]) -> Id {
    let mut bytes = key.to_vec();
    bytes.extend(salt);
    Id(sha1(&bytes))
}

/// The public key that belongs to a seed.
pub fn public_key(seed: [u8; 32]) -> [u8; 32] {
    *KeyPair::from_seed(Seed::new(seed)).pk
}

/// The Ed25519 signature of these bytes by the key that is made from `seed`; the same for the same bytes.
pub fn sign(seed: [u8; 32], message: &[u8]) -> [u8; 64] {
    *KeyPair::from_seed(Seed::new(seed)).sk.sign(message, None)
}

/// Whether this is the Ed25519 signature of these bytes by this key.
pub fn verifies(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    PublicKey::new(*key).verify(message, &Signature::new(*signature)).is_ok()
}

fn check_value(value: &[u8]) -> Result<(), Invalid> {
    if value.len() > MAX_VALUE {
        return Err(Invalid::ValueTooBig);
    }
    let limits = quelea_bencode::Limits { depth: 8, items: 1_024 };
    let parsed = quelea_bencode::parse(value, limits).map_err(|_| Invalid::NotBencoded)?;
    // Whoever decodes and encodes it again must come to the same bytes, or it has another hash.
    if parsed.is_canonical() { Ok(()) } else { Err(Invalid::NotBencoded) }
}

fn is_signed(signed: &Signed<'_>, value: &[u8]) -> bool {
    verifies(signed.key, &signed_bytes(signed.salt, signed.sequence, value), signed.signature)
}

/// What is signed (BEP 44, "Mutable Items").
fn signed_bytes(salt: &[u8], sequence: i64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + salt.len() + 48);
    if !salt.is_empty() {
        bytes.extend(alloc::format!("4:salt{}:", salt.len()).as_bytes());
        bytes.extend(salt);
    }
    bytes.extend(alloc::format!("3:seqi{sequence}e1:v").as_bytes());
    bytes.extend(value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not() {
        let item = Item::sign([5; 32], b"salt".to_vec(), 3, b"5:hello".to_vec()).unwrap();
        let target = item.target();
        let signed = item.signed().unwrap();
        assert_eq!(Item::received(&target, &item.value, Some(signed)), Ok(item.clone()));
        let later = Signed { sequence: 4, ..signed };
        assert_eq!(Item::received(&target, &item.value, Some(later)), Err(Invalid::Signature));
        assert_eq!(Item::received(&target, b"5:hallo", Some(signed)), Err(Invalid::Signature));
        assert_eq!(Item::received(&Id([0; 20]), &item.value, Some(signed)), Err(Invalid::Signature));
    }

    #[test]
    fn what_is_too_long_or_no_bencode_is_refused() {
        let long = alloc::format!("1001:{}", "x".repeat(1001)).into_bytes();
        assert_eq!(Item::fixed(long), Err(Invalid::ValueTooBig));
        assert_eq!(Item::fixed(b"hello".to_vec()), Err(Invalid::NotBencoded));
        assert_eq!(Item::fixed(b"d1:bi1e1:ai2ee".to_vec()), Err(Invalid::NotBencoded));
        assert!(Item::fixed(b"d1:ai2e1:bi1ee".to_vec()).is_ok());
        let salted = Item::sign([5; 32], [0; 65].to_vec(), 1, b"le".to_vec());
        assert_eq!(salted, Err(Invalid::SaltTooBig));
    }
}
